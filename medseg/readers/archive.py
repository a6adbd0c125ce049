"""How are zip and tar archives read without unpacking them, whatever they hold?

Nothing is written to disk, so a member's name leads nowhere; what is read of a member is bounded
by what the caller asks for, and an archive that claims to swell beyond reason is refused.
"""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from medseg.errors import BadScan

_TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
#: Deflate cannot pack tighter than 1032 : 1; no archive of scans comes near half of it.
_MOST_SWELLING = 500
_HARMLESS_BYTES = 1 << 30
#: No member of an archive is read beyond this.
MOST_MEMBER_BYTES = 1 << 32

_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, ValueError,
            NotImplementedError, RuntimeError, KeyError)


class Member(NamedTuple):
    """One file inside an archive: its name, its size, and its stream while it is at hand."""

    name: str
    size: int
    stream: IO[bytes]


class Unsafe(NamedTuple):
    """A member that is not read, and why."""

    name: str
    reason: str


def is_archive(name: str) -> bool:
    """Whether a file is an archive that we open, by its name."""
    return name.lower().endswith((".zip", *_TAR_ENDINGS))


def is_packed(name: str) -> bool:
    """Whether a file is packed in a way that we do not open, by its name."""
    return name.lower().endswith((".7z", ".rar", ".gz", ".bz2", ".xz", ".zst", ".lz4", ".z"))


def is_zip(path: Path) -> bool:
    """Whether a file is a zip archive by its first bytes."""
    try:
        with path.open("rb") as stream:
            return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except OSError:
        return False


def members(path: Path) -> Iterator[Member | Unsafe]:
    """Every file in an archive, one after the other.

    Raises:
        BadScan: the archive is damaged, locked, or swells beyond reason.
    """
    try:
        if path.name.lower().endswith(_TAR_ENDINGS):
            yield from _tar_members(path)
        else:
            yield from _zip_members(path)
    except _DAMAGED as error:
        raise BadScan("the archive is damaged or truncated, or not an archive of its name",
                      path=path.name, found=str(error)[:120] or type(error).__name__,
                      remedy="Copy it again from its source.") from None


def open_members(path: Path, names: set[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """The members of these names with their streams, in the archive's order.

    Raises:
        BadScan: the archive is damaged, or a name is missing.
    """
    missing = set(names)
    for member in members(path):
        if isinstance(member, Member) and member.name in missing:
            missing.discard(member.name)
            yield member.name, member.stream
            if not missing:
                return
    raise BadScan("the archive no longer holds what it held", path=path.name,
                  found=f"{len(missing)} files missing", remedy="Run again.")


def _zip_members(path: Path) -> Iterator[Member | Unsafe]:
    with zipfile.ZipFile(path) as packed:
        entries = [entry for entry in packed.infolist() if not entry.is_dir()]
        _refuse_bomb(path, sum(entry.file_size for entry in entries))
        for entry in entries:
            reason = _unsafe(entry.filename, entry.file_size)
            if entry.flag_bits & 1:
                reason = "locked with a password"
            if reason:
                yield Unsafe(entry.filename, reason)
                continue
            try:
                with packed.open(entry) as stream:
                    yield Member(entry.filename, entry.file_size, stream)
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
                yield Unsafe(entry.filename, f"damaged inside the archive ({str(error)[:80]})")


def _tar_members(path: Path) -> Iterator[Member | Unsafe]:
    with tarfile.open(path, "r:*") as packed:
        total = 0
        for entry in packed:
            if not entry.isreg():
                continue
            total += entry.size
            _refuse_bomb(path, total)
            reason = _unsafe(entry.name, entry.size)
            stream = None if reason else packed.extractfile(entry)
            if stream is None:
                yield Unsafe(entry.name, reason or "not a plain file")
            else:
                yield Member(entry.name, entry.size, stream)


def _unsafe(name: str, size: int) -> str:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or name[1:2] == ":":
        return "an unsafe path that leads outside the archive"
    return "larger than any scan" if size > MOST_MEMBER_BYTES else ""


def _refuse_bomb(path: Path, total: int) -> None:
    packed = path.stat().st_size
    if total > max(_HARMLESS_BYTES, _MOST_SWELLING * packed):
        raise BadScan("the archive swells beyond reason (a decompression bomb?)", path=path.name,
                      found=f"{total} bytes in an archive of {packed}")
