"""How are zip and tar archives read without unpacking them, whatever they hold?

Nothing is written to disk, so a member's name leads nowhere; what is read of a member is bounded
by what the caller asks for, and an archive that claims to swell beyond reason is refused.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

from medseg.errors import BadScan

_TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
#: Deflate cannot pack tighter than 1032 : 1; no archive of scans comes near half of it.
_MOST_SWELLING = 500
_HARMLESS_BYTES = 1 << 30
#: Why a member is not read whose name leads elsewhere.
OUTSIDE = "an unsafe path that leads outside the archive"
#: No member of an archive is read beyond this.
MOST_MEMBER_BYTES = 1 << 32

_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    KeyError,
    IndexError,
    struct.error,
    OverflowError,
)


class Member(NamedTuple):
    """One file inside an archive: its name, its size, and its stream while it is at hand."""

    name: str
    size: int
    stream: Guarded


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
        raise BadScan(
            "the archive is damaged or truncated, or not an archive of its name",
            path=path.name,
            found=str(error)[:120] or type(error).__name__,
            remedy="Copy it again from its source.",
        ) from None


def open_members(path: Path, names: set[str]) -> Iterator[tuple[str, Guarded]]:
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
    raise BadScan(
        "the archive no longer holds what it held",
        path=path.name,
        found=f"{len(missing)} files missing",
        remedy="Run again.",
    )


def _zip_members(path: Path) -> Iterator[Member | Unsafe]:
    with zipfile.ZipFile(path) as packed:
        entries = packed.infolist()
        if len(entries) % 65536 != _promised_entries(path):
            raise zipfile.BadZipFile("its directory lists another number of files than it promises")
        entries = [entry for entry in entries if not entry.is_dir()]
        _refuse_bomb(path, sum(entry.file_size for entry in entries))
        for entry in entries:
            reason = _unsafe(entry.filename, entry.file_size)
            if entry.flag_bits & 1:
                reason = "locked with a password"
            if reason:
                yield Unsafe(entry.filename, reason)
                continue
            with packed.open(entry) as stream:
                yield Member(entry.filename, entry.file_size, Guarded(stream, entry.filename))


def _promised_entries(path: Path) -> int:
    """How many entries the end of a zip archive promises (modulo 65536)."""
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - 65536 - 22))
        tail = stream.read()
    end = tail.rfind(b"PK\x05\x06")
    promised = int.from_bytes(tail[end + 10 : end + 12], "little")
    if promised == 0xFFFF:  # zip64 keeps the number elsewhere
        end = tail.rfind(b"PK\x06\x06")
        promised = int.from_bytes(tail[end + 32 : end + 40], "little") if end >= 0 else promised
    return promised % 65536


def _tar_members(path: Path) -> Iterator[Member | Unsafe]:
    with _unpacked(path) as stream:
        seen = _Forward(stream)
        with tarfile.open(fileobj=seen, mode="r:") as packed:
            total = 0
            for entry in packed:
                if not entry.isreg():
                    continue
                total += entry.size
                _refuse_bomb(path, total)
                reason = _unsafe(entry.name, entry.size)
                member = None if reason else packed.extractfile(entry)
                if member is None:
                    yield Unsafe(entry.name, reason or "not a plain file")
                else:
                    yield Member(entry.name, entry.size, Guarded(member, entry.name))
                packed.members.clear()  # type: ignore[attr-defined]
            seen.check_end()


def _unpacked(path: Path) -> IO[bytes]:
    """The tar stream behind whatever packs it."""
    with path.open("rb") as stream:
        head = stream.read(6)
    if head[:2] == b"\x1f\x8b":
        return cast(IO[bytes], gzip.open(path))
    if head[:3] == b"BZh":
        return cast(IO[bytes], bz2.open(path))
    if head == b"\xfd7zXZ\0":
        return cast(IO[bytes], lzma.open(path))
    return path.open("rb")


class _Forward(io.RawIOBase):
    """A stream that goes forward only, and remembers the block that ended a tar archive.

    tarfile takes a damaged block in the middle for the archive's end, so we look ourselves.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__()
        self._stream, self._place, self._last = stream, 0, b""

    def tell(self) -> int:
        return self._place

    def seek(self, place: int, whence: int = 0) -> int:
        if whence != 0 or place < self._place:
            raise OSError("a packed tar archive cannot be read backwards")
        while self._place < place:
            if not self.read(min(1 << 20, place - self._place)):
                break
        return self._place

    def read(self, size: int = -1) -> bytes:
        content = self._stream.read(size)
        self._place += len(content)
        self._last = content
        return content

    def check_end(self) -> None:
        """Raise where the archive does not end as tar archives do; read all that follows."""
        if len(self._last) != tarfile.BLOCKSIZE or any(self._last):
            raise tarfile.ReadError("a damaged block, or no end of the archive")
        while self._stream.read(1 << 20):
            pass


class Guarded(io.RawIOBase):
    """A member's stream, forward only, whose damage is told as a refusal."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        super().__init__()
        self._stream, self._name, self._place = stream, name, 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes.

        Raises:
            BadScan: the archive is damaged here.
        """
        try:
            content = self._stream.read(size)
        except _DAMAGED as error:
            raise BadScan(_damaged(error), path=self._name) from None
        self._place += len(content)
        return content

    def seek(self, place: int, whence: int = 0) -> int:
        """Go forward to a place.

        Raises:
            BadScan: the archive is damaged before it.
        """
        if whence != 0 or place < self._place:
            raise ValueError("a member of an archive is read forward only")
        while self._place < place and self.read(min(1 << 20, place - self._place)):
            pass
        return self._place

    def finish(self) -> None:
        """Read to the end, so that checksums are compared."""
        while self.read(1 << 20):
            pass


def _damaged(error: Exception) -> str:
    return f"damaged inside the archive ({(str(error) or type(error).__name__)[:80]})"


def _unsafe(name: str, size: int) -> str:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or name[1:2] == ":":
        return OUTSIDE
    return "larger than any scan" if size > MOST_MEMBER_BYTES else ""


def _refuse_bomb(path: Path, total: int) -> None:
    packed = path.stat().st_size
    if total > max(_HARMLESS_BYTES, _MOST_SWELLING * packed):
        raise BadScan(
            "the archive swells beyond reason (a decompression bomb?)",
            path=path.name,
            found=f"{total} bytes in an archive of {packed}",
        )
