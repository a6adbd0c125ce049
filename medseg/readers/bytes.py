"""Where the bytes of a scan come from: plain or packed, never more than are there."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from isal import igzip
from isal.igzip_lib import IsalError
from numpy.typing import NDArray

from medseg.errors import BadScan
from medseg.readers.limits import refuse_expansion

GZIP_MAGIC = b"\x1f\x8b"

#: Bytes that may follow the voxels in a packed file before we stop looking for its checksum.
_MOST_TRAILING = 1 << 26
#: ... and so many always may, however small the volume.
_PADDING = 1 << 10
_FAR_MORE = "ambiguous: as much data again, or more, follows the volume that the header promises"

_CHUNK = 1 << 20

_DAMAGED = (igzip.BadGzipFile, cast("type[Exception]", IsalError), zlib.error)


class Packing(StrEnum):
    """How bytes are packed."""

    #: gzip where the content says so, plain otherwise.
    BY_CONTENT = "by content"
    PLAIN = "plain"
    GZIP = "gzip"
    ZLIB = "zlib"


@contextmanager
def open_bytes(
    path: Path, *, start: int = 0, packing: Packing = Packing.BY_CONTENT
) -> Iterator[BinaryIO]:
    """The content of a file from byte `start` on, unpacked, whatever its name says.

    Raises:
        BadScan: the file cannot be read, or its packed stream is damaged or cut short.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            if packing is Packing.BY_CONTENT:
                packing = Packing.GZIP if file.read(2) == GZIP_MAGIC else Packing.PLAIN
                file.seek(start)
            yield _unpacked(file, packing)
    except EOFError:
        raise BadScan(
            "the compressed file is truncated: it ends before its end mark",
            path=path,
            remedy="Copy or download it again.",
        ) from None
    except _DAMAGED as error:
        raise BadScan(
            "the compressed file is corrupt",
            path=path,
            found=error,
            remedy="Copy or download it again.",
        ) from None
    except OSError as error:
        raise BadScan("the file cannot be read", path=path, found=error.strerror or error) from None


def first_bytes(path: Path, count: int) -> bytes:
    """Up to `count` leading bytes after unpacking; empty where they cannot be read."""
    try:
        with open_bytes(path) as stream:
            return stream.read(count)
    except BadScan:
        return b""


def read_array(
    stream: BinaryIO,
    path: Path,
    *,
    offset: int,
    skip: int,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    behind: int | None = 0,
) -> NDArray[Any]:
    """An array in native byte order, first axis fastest, `offset + skip` bytes into a stream.

    A packed stream is read to its end, so that its checksum is proven.

    Args:
        stream: from `open_bytes`, at its start or behind a header read from it.
        path: the file, for messages.
        offset: where the voxels of all volumes start, from the stream's start.
        skip: bytes of volumes before the one wanted.
        shape: voxels along each axis.
        dtype: as stored, with byte order.
        behind: bytes of volumes after the one wanted; ``None`` where other data may follow.

    Raises:
        BadScan: the content is shorter than header and shape ask for, longer by a volume or
            more, or a packed file would expand beyond reason; checked before anything is
            allocated.
    """
    wanted = dtype.itemsize * math.prod(shape)
    trailing = max(_PADDING, min(wanted - 1, _MOST_TRAILING))
    _check_size(stream, path, offset + skip + wanted + (behind or 0))
    if behind is not None and _is_plain(stream):
        _check_surplus(path, offset + skip + wanted + behind, trailing)
    try:
        array = np.empty(shape, dtype=dtype, order="F")
    except (MemoryError, ValueError):
        raise BadScan(
            "the volume does not fit into memory",
            path=path,
            found=f"{'x'.join(map(str, shape))} voxels, {wanted} bytes",
        ) from None
    _forward(stream, path, offset + skip)
    _fill(stream, path, array.reshape(-1, order="F").view(np.uint8))
    if not _is_plain(stream):
        _drain(stream, path, _MOST_TRAILING if behind is None else behind + trailing)
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))


def _unpacked(file: BinaryIO, packing: Packing) -> BinaryIO:
    if packing is Packing.GZIP:
        return cast("BinaryIO", igzip.IGzipFile(fileobj=file, mode="rb"))
    return cast("BinaryIO", _Inflated(file)) if packing is Packing.ZLIB else file


class _Inflated(io.RawIOBase):
    """Reads one zlib or gzip stream, as MetaImage keeps it, up to its own end mark."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inflate = zlib.decompressobj(wbits=47)
        self._position = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def read(self, count: int = _CHUNK) -> bytes:
        block = b""
        while not block and not self._inflate.eof and count > 0:
            packed = self._inflate.unconsumed_tail or self._file.read(_CHUNK)
            if not packed:
                raise EOFError
            block = self._inflate.decompress(packed, count)
        self._position += len(block)
        return block


def _is_plain(stream: object) -> bool:
    return isinstance(stream, io.BufferedReader)


def _check_size(stream: BinaryIO, path: Path, wanted: int) -> None:
    there = path.stat().st_size
    if not _is_plain(stream):
        refuse_expansion(path, packed=there, unpacked=wanted)
    elif wanted > there:
        raise BadScan(
            "the file is truncated or its header is corrupt: fewer data than the header promises",
            path=path,
            found=f"at most {there} bytes",
            expected=f"{wanted} bytes",
            remedy="Copy or download it again.",
        )


def _check_surplus(path: Path, wanted: int, trailing: int) -> None:
    there = path.stat().st_size
    if there - wanted > trailing:
        raise BadScan(_FAR_MORE, path=path, found=f"{there} bytes", expected=f"{wanted} bytes")


def _forward(stream: BinaryIO, path: Path, count: int) -> None:
    """Go to byte `count` without holding what lies before."""
    if _is_plain(stream):
        stream.seek(count)
        return
    left = count - stream.tell()
    if left < 0:
        raise BadScan("the voxels start inside the header", path=path, found=count)
    while left > 0:
        left -= len(_some(stream, path, min(left, _CHUNK)))


def _fill(stream: BinaryIO, path: Path, target: NDArray[np.uint8]) -> None:
    view, done = memoryview(target.data), 0
    while done < len(view):
        block = _some(stream, path, min(len(view) - done, _CHUNK))
        view[done : done + len(block)] = block
        done += len(block)


def _drain(stream: BinaryIO, path: Path, most: int) -> None:
    """Read to the end of a packed stream: only there its checksum is compared."""
    while block := stream.read(_CHUNK):
        most -= len(block)
        if most < 0:
            raise BadScan(_FAR_MORE, path=path)


def _some(stream: BinaryIO, path: Path, count: int) -> bytes:
    block = stream.read(count)
    if not block:
        raise BadScan(
            "the file is truncated: it ends before the last voxel",
            path=path,
            remedy="Copy or download it again.",
        )
    return block
