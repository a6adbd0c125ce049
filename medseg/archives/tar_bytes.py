"""The bytes of a tar archive, unpacked and read forward only, within limits."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from medseg.archives.limits import refuse_swelling

#: A tar header that holds a long name or other words about a member is no longer.
_MOST_NAME_BYTES = 1 << 16
#: All headers in front of one member; the map of a sparse file's holes is among them.
_MOST_HEADER_BYTES = 1 << 20
#: Unpacking xz may take this much memory; its strongest preset takes 65 MiB.
_XZ_BYTES = 1 << 27
#: Types of tar entries that describe the next one.
_TAR_WORDS = b"xgLKX"


@contextmanager
def tar_bytes(path: Path) -> Iterator[ForwardStream]:
    """The tar stream behind whatever packs it.

    Raises:
        OSError: the file cannot be read.
        BadScan: while it is read: the archive swells beyond reason.
    """
    with _unpacked(path) as stream:
        yield ForwardStream(stream, path)


def _unpacked(path: Path) -> IO[bytes]:
    with path.open("rb") as stream:
        head = stream.read(6)
    if head[:2] == b"\x1f\x8b":
        return cast(IO[bytes], gzip.open(path))
    if head[:3] == b"BZh":
        return cast(IO[bytes], bz2.open(path))
    if head == b"\xfd7zXZ\0":
        return cast(IO[bytes], _Xz(path.open("rb")))
    return path.open("rb")


class _Xz(io.RawIOBase):
    """Unpacks xz with a limit on its memory, which the library's own file object does not have."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file, self._unpack = file, lzma.LZMADecompressor(memlimit=_XZ_BYTES)

    def read(self, size: int = -1) -> bytes:
        content = b""
        while not content:
            packed = b""
            if self._unpack.eof:  # another stream may follow, or padding
                packed = self._unpack.unused_data.lstrip(b"\0") or self._file.read(1 << 16)
                if not packed.strip(b"\0"):
                    return b""
                self._unpack = lzma.LZMADecompressor(memlimit=_XZ_BYTES)
            elif self._unpack.needs_input and not (packed := self._file.read(1 << 16)):
                raise EOFError("the compressed file ends before its end mark")
            content = self._unpack.decompress(packed, size)
        return content

    def close(self) -> None:
        self._file.close()
        super().close()


class ForwardStream(io.RawIOBase):
    """A stream that goes forward only, counts what it unpacks, and knows how a tar archive ended.

    tarfile takes a damaged block in the middle for the archive's end, so we look ourselves. It
    also takes whatever size the header of a long name claims, and as many headers as there are.
    """

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        super().__init__()
        self._stream, self._place, self._last = stream, 0, b""
        self._path = path
        self._promised, self._header_bytes = 0, 0

    def promise(self, size: int) -> None:
        """Refuse members whose headers claim too much, before any of it is unpacked.

        Sparse members hold far more than lies in the archive, so what all of them claim counts.

        Args:
            size: bytes of the next member.

        Raises:
            BadScan: the archive would swell beyond reason.
        """
        self._promised += max(size, 0)
        self._header_bytes = -1
        refuse_swelling(self._path, max(self._place + size, self._promised))

    def expect_headers(self) -> None:
        """Count what is read from here to the next `promise`."""
        self._header_bytes = 0

    def tell(self) -> int:
        """Bytes read so far."""
        return self._place

    def seek(self, place: int, whence: int = 0) -> int:
        """Go forward to a place.

        Raises:
            OSError: it lies behind.
        """
        if whence != 0 or place < self._place:
            raise OSError("a packed tar archive cannot be read backwards")
        while self._place < place:
            if not self._next_bytes(min(1 << 20, place - self._place)):
                break
        return self._place

    def read(self, size: int = -1) -> bytes:
        """The next bytes.

        Raises:
            tarfile.ReadError: the name of a member claims to be longer than any name, or its
                headers have no end.
            BadScan: the archive swells beyond reason.
        """
        if size > _MOST_NAME_BYTES and self._is_about_the_next():
            raise tarfile.ReadError(f"a name of {size} bytes (most: {_MOST_NAME_BYTES})")
        content = self._next_bytes(size)
        if self._header_bytes >= 0:
            self._header_bytes += len(content)
        if self._header_bytes > _MOST_HEADER_BYTES:
            raise tarfile.ReadError(f"headers of a member beyond {_MOST_HEADER_BYTES} bytes")
        return content

    def _next_bytes(self, size: int) -> bytes:
        parts = [self._stream.read(size)]  # xz and bzip2 give what they have at hand
        while parts[-1] and (left := size - sum(map(len, parts))) > 0:
            parts.append(self._stream.read(left))
        content = b"".join(parts)
        self._place += len(content)
        self._last = content
        refuse_swelling(self._path, self._place)
        return content

    def _is_about_the_next(self) -> bool:
        """Whether the last block was the header of words about the next member."""
        return len(self._last) == tarfile.BLOCKSIZE and self._last[156:157] in _TAR_WORDS

    def check_end(self) -> None:
        """Raise where the archive does not end as tar archives do; read all that follows."""
        if len(self._last) != tarfile.BLOCKSIZE or any(self._last):
            raise tarfile.ReadError("a damaged block, or no end of the archive")
        while self._next_bytes(1 << 20):
            pass
