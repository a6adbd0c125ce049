"""The files in a zip or tar archive, one after the other.

A member's name leads nowhere. What is read of a member is bounded by what the caller asks for,
and an archive that swells beyond reason (:mod:`medseg.archives.limits`) is refused.
"""

from __future__ import annotations

import io
import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

from medseg.archives.limits import refuse_swelling
from medseg.archives.tar_bytes import tar_bytes
from medseg.errors import BadScan

_TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
#: No member of an archive is read beyond this.
MOST_MEMBER_BYTES = 1 << 32
#: How the names of the parts of a split file end; those of zip and rar have endings of their own.
_PART, _OLD_PART = re.compile(r"\.(\d{2,3}|a[a-z])$"), re.compile(r"\.[zr]\d\d$")
#: Ways of packing that are unpacked no further than is read.
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: Endings of single files packed by themselves.
_PACKED = frozenset(("gz", "bz2", "xz", "zst", "lz4", "z"))

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
    """One file inside an archive: which, its name, its size, and its stream while it is at hand.

    Several members can have one name; only the number says which one is meant.
    """

    number: int
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


def is_foreign_archive(name: str) -> bool:
    """Whether a file is an archive of a kind that we do not open, or a part of one, by its name.

    >>> is_foreign_archive("a.7z"), is_foreign_archive("a.zip.001"), is_foreign_archive("a.001")
    (True, True, False)
    """
    lower = name.lower()
    whole = _PART.sub("", lower)
    if whole != lower and (is_archive(whole) or whole.endswith(".nii.gz")):
        return True
    return whole.endswith((".7z", ".rar")) or bool(_OLD_PART.search(lower))


def packed_name(name: str) -> str:
    """The name of what a file packs by itself; empty where it is not packed.

    >>> packed_name("IM1.dcm.gz"), packed_name("sub-01_physio.tsv.gz"), packed_name("IM1.dcm")
    ('IM1.dcm', 'sub-01_physio.tsv', '')
    """
    stem, dot, ending = name.rpartition(".")
    return stem if dot and ending.lower() in _PACKED else ""


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


def open_members(path: Path, members_wanted: Mapping[int, str]) -> Iterator[Member]:
    """Members by number and name with their streams, in the archive's order.

    Raises:
        BadScan: the archive is damaged, or a member is missing.
    """
    missing = dict(members_wanted)
    for member in members(path):
        if isinstance(member, Member) and missing.get(member.number) == member.name:
            del missing[member.number]
            yield member
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
        refuse_swelling(path, sum(entry.file_size for entry in entries))
        for number, entry in enumerate(entries):
            if entry.is_dir():
                continue
            name = _inside(entry.filename)
            reason = _unsafe(name, entry.file_size)
            if entry.flag_bits & 1:
                reason = "locked with a password"
            elif entry.compress_type not in _ZIP_METHODS:
                reason = "packed by a method that is not opened (only deflate is): unpack it"
            if reason:
                yield Unsafe(name, reason)
                continue
            with packed.open(entry) as stream:
                yield Member(number, name, entry.file_size, Guarded(stream, name))


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
    with tar_bytes(path) as forward, tarfile.open(fileobj=forward, mode="r:") as packed:
        for number, entry in enumerate(packed):
            forward.promise(entry.size)
            packed.members.clear()  # type: ignore[attr-defined]
            if entry.isreg():
                name = _inside(entry.name)
                reason = _unsafe(name, entry.size)
                member = None if reason else packed.extractfile(entry)
                if member is None:
                    yield Unsafe(name, reason or "not a plain file")
                else:
                    yield Member(number, name, entry.size, Guarded(member, name))
            forward.expect_headers()
        forward.check_end()


class Guarded(io.RawIOBase):
    """A member's stream, forward only, whose damage is a refusal."""

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


def _inside(name: str) -> str:
    r"""A member's name below the archive: without drive and root, which nothing is unpacked to.

    >>> _inside("/data/study/IM1"), _inside("C:\\scans\\IM1"), _inside("./IM1")
    ('data/study/IM1', 'scans/IM1', 'IM1')
    """
    name = name.replace("\\", "/")
    parts = (name[2:] if name[1:2] == ":" and name[:1].isalpha() else name).split("/")
    return "/".join(part for part in parts if part not in ("", "."))


def _unsafe(name: str, size: int) -> str:
    if ".." in name.split("/"):
        return "an unsafe path that leads outside the archive"
    if size > MOST_MEMBER_BYTES:
        return f"larger than any scan ({size} bytes; most: {MOST_MEMBER_BYTES})"
    return ""
