"""What was learned of a file the last time: a small index that makes a second look cheap.

It lies in the user's cache folder, not beside the scans. A file counts as unchanged while its
size and time of change are the same. The index holds hashes of paths and UIDs, no names, ids,
dates or descriptions; losing it costs nothing but time.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from medseg.readers.dicom_file import FileHeader, Pixels
from medseg.readers.dicom_frames import Frame
from medseg.readers.sources import UNREADABLE, Source

#: To be raised whenever what is learned of a file changes.
_VERSION = 2

_Row = tuple[bytes, int, int, str]


def index_path() -> Path:
    """Where the index lies: ``MEDSEG_CACHE``, else the user's cache folder."""
    named = os.environ.get("MEDSEG_CACHE")
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return (Path(named) if named else Path(cache) / "medseg") / f"headers-{_VERSION}.sqlite"


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
                "create table if not exists header (key blob primary key, size integer, "
                "changed integer, body text) without rowid"
            )
            self._base = base

    def known(self, sources: Iterable[Source]) -> dict[Source, FileHeader | None]:
        """Headers of unchanged files; ``None`` for files that are no DICOM."""
        found: dict[Source, FileHeader | None] = {}
        if self._base is None:
            return found
        with suppress(sqlite3.Error, ValueError, TypeError, KeyError):
            for source in sources:
                row = self._base.execute(
                    "select size, changed, body from header where key = ?", (_key(source),)
                ).fetchone()
                if row is not None and row[:2] == (source.size, source.changed_ns):
                    found[source] = _from_text(row[2], source)
        return found

    def learn(self, headers: Iterable[tuple[Source, FileHeader | None]]) -> None:
        """Keep what was learned; not that a file could not be read, which may pass."""
        if self._base is None:
            return
        rows: list[_Row] = [
            (_key(source), source.size, source.changed_ns, _to_text(header))
            for source, header in headers
            if header is None or not header.problem.startswith(UNREADABLE)
        ]
        with suppress(sqlite3.Error), self._base:
            self._base.executemany("insert or replace into header values (?, ?, ?, ?)", rows)

    def close(self) -> None:
        """Let the file go."""
        if self._base is not None:
            self._base.close()
            self._base = None


def _key(source: Source) -> bytes:
    place = f"{os.path.abspath(source.path)}\0{source.member}"  # noqa: PTH100
    return hashlib.blake2b(place.encode(errors="surrogateescape"), digest_size=16).digest()


def _to_text(header: FileHeader | None) -> str:
    if header is None:
        return "null"
    return json.dumps(
        [
            header.study,
            header.series,
            header.instance,
            header.reference,
            header.modality,
            header.sop_class,
            header.localizer,
            header.instance_number,
            None if header.pixels is None else _values(header.pixels),
            [_values(frame) for frame in header.frames],
            header.skip,
            header.problem,
            header.notes,
        ],
        separators=(",", ":"),
    )


def _values(row: Pixels | Frame) -> list[Any]:
    """A flat value's fields in order."""
    return [getattr(row, name) for name in row.__slots__]


def _from_text(text: str, source: Source) -> FileHeader | None:
    fields: list[Any] | None = json.loads(text)
    if fields is None:
        return None
    names, (localizer, number, pixels, frames, skip, problem, notes) = fields[:6], fields[6:]
    study, series, instance, reference, modality, sop_class = names
    return FileHeader(
        source,
        study,
        series,
        instance,
        reference,
        modality,
        sop_class,
        localizer,
        number,
        None if pixels is None else Pixels(*pixels),
        tuple(_frame(frame) for frame in frames),
        skip,
        problem,
        tuple(notes),
    )


def _frame(fields: list[Any]) -> Frame:
    index, position, orientation, spacing, thickness, between, slope, intercept = fields[:8]
    stack, marks, tile = fields[8:]
    return Frame(
        index,
        _tuple(position),
        _tuple(orientation),
        _tuple(spacing),
        thickness,
        between,
        slope,
        intercept,
        stack,
        tuple((name, value) for name, value in marks),
        _tuple(tile),
    )


def _tuple(values: list[Any] | None) -> Any:
    return None if values is None else tuple(values)
