"""What was learned of files the last time: a small index that makes a second look cheap.

It lies in the user's cache folder, not beside the scans. A file counts as unchanged while its
size, its time of change, its inode and the time its entry was last touched are the same: of two
archives unpacked over one another the files may agree in the first two. The index holds hashes of
paths and UIDs, no names, ids, dates or descriptions; losing it costs nothing but time.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from medseg.readers.dicom.file import FileHeader, Pixels
from medseg.readers.dicom.frames import Frame
from medseg.readers.sources import UNREADABLE, Source

#: To be raised by whoever changes what is learned of a file: an index of another version is not
#: read. The test of this module knows the code that each version stands for.
VERSION = 7

#: An index that another version wrote goes when nobody wrote to it for so long.
_MOST_IDLE_S = 30 * 86400

_Row = tuple[bytes, str, str]


def index_path() -> Path:
    """Where the index lies: ``MEDSEG_CACHE``, else the user's cache folder."""
    named = os.environ.get("MEDSEG_CACHE")
    folder = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    name = f"headers-{fingerprint()}.sqlite"
    return (Path(named) if named else Path(folder) / "medseg") / name


@cache
def fingerprint() -> str:
    """What another index has that was filled by another version or holds other fields."""
    kinds = (FileHeader, Pixels, Frame)
    stored = [(kind.__name__, [(f.name, str(f.type)) for f in fields(kind)]) for kind in kinds]
    return hashlib.blake2b(repr((VERSION, stored)).encode(), digest_size=8).hexdigest()


class HeaderIndex:
    """Headers by file; where the index cannot be opened, it is simply empty."""

    def __init__(self, path: Path | None) -> None:
        self._base: sqlite3.Connection | None = None
        if path is None:
            return
        with suppress(OSError, sqlite3.Error, RuntimeError):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            base = sqlite3.connect(path, timeout=5)
            base.execute("pragma journal_mode=wal")
            base.execute("pragma synchronous=normal")
            base.execute(
                "create table if not exists header (key blob primary key, stamp text, body text) "
                "without rowid"
            )
            self._base = base
            _forget_others(path)

    def known(self, sources: Iterable[Source]) -> dict[Source, FileHeader | None]:
        """Headers of unchanged files; ``None`` for files that are no DICOM."""
        headers: dict[Source, FileHeader | None] = {}
        if self._base is None:
            return headers
        with suppress(sqlite3.Error, ValueError, TypeError, KeyError):
            for source in sources:
                row = self._base.execute(
                    "select stamp, body from header where key = ?", (_key(source),)
                ).fetchone()
                if row is not None and row[0] == _stamp(source):
                    headers[source] = _from_text(row[1], source)
        return headers

    def learn(self, headers: Iterable[tuple[Source, FileHeader | None]]) -> None:
        """Keep what was learned; not that a file could not be read, which may pass."""
        if self._base is None:
            return
        rows: list[_Row] = [
            (_key(source), _stamp(source), _to_text(header))
            for source, header in headers
            if header is None or not header.problem.startswith(UNREADABLE)
        ]
        with suppress(sqlite3.Error), self._base:
            self._base.executemany("insert or replace into header values (?, ?, ?)", rows)

    def close(self) -> None:
        """Let the file go."""
        if self._base is not None:
            self._base.close()
            self._base = None


def _forget_others(path: Path) -> None:
    """Remove the indexes of other versions that nobody has written to for long."""
    for other in path.parent.glob("headers-*.sqlite*"):
        idle_s = time.time() - other.stat().st_mtime
        if not other.name.startswith(path.name) and idle_s > _MOST_IDLE_S:
            other.unlink(missing_ok=True)


def _key(source: Source) -> bytes:
    place = f"{os.path.abspath(source.path)}\0{source.member}"  # noqa: PTH100
    return hashlib.blake2b(place.encode(errors="surrogateescape"), digest_size=16).digest()


def _stamp(source: Source) -> str:
    return f"{source.size} {source.changed_ns} {source.inode} {source.status_ns}"


#: The fields that are stored, in order; the source is known without.
_FIELDS = tuple(field.name for field in fields(FileHeader) if field.name != "source")


def _to_text(header: FileHeader | None) -> str:
    if header is None:
        return "null"
    stored = {name: getattr(header, name) for name in _FIELDS}
    stored["pixels"] = None if header.pixels is None else _values(header.pixels)
    stored["frames"] = [_values(frame) for frame in header.frames]
    return json.dumps(list(stored.values()), separators=(",", ":"))


def _values(row: Pixels | Frame) -> list[Any]:
    """A flat value's fields in order."""
    return [getattr(row, field.name) for field in fields(row)]


def _from_text(text: str, source: Source) -> FileHeader | None:
    values: list[Any] | None = json.loads(text)
    if values is None:
        return None
    stored = dict(zip(_FIELDS, map(_tuples, values), strict=True))
    pixels, frames = stored["pixels"], stored["frames"]
    stored["pixels"] = None if pixels is None else Pixels(*pixels)
    stored["frames"] = tuple(Frame(*frame) for frame in frames)
    return FileHeader(source, **stored)


def _tuples(value: Any) -> Any:
    """JSON knows lists alone; what was stored knows tuples alone."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
