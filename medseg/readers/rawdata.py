"""Where the bytes of a scan come from: plain or gzip by content, never more than are there."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from isal import igzip
from isal.igzip_lib import IsalError
from numpy.typing import NDArray

from medseg.errors import BadScan

GZIP_MAGIC = b"\x1f\x8b"

#: Deflate turns one byte into at most 1032; a header that asks for more lies.
_MOST_EXPANSION = 1032

#: Bytes that may follow the voxels in a compressed file before we stop looking for its checksum.
_MOST_TRAILING = 1 << 26

_CHUNK = 1 << 20

_DAMAGED = (igzip.BadGzipFile, cast("type[Exception]", IsalError), zlib.error)


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """The content of a file, unpacked where it is gzip, whatever its name says.

    Raises:
        BadScan: the file cannot be read, or its compressed stream is damaged or cut short.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == GZIP_MAGIC
            file.seek(0)
            yield cast("BinaryIO", igzip.IGzipFile(fileobj=file, mode="rb") if packed else file)
    except EOFError:
        raise BadScan("the compressed file is truncated: it ends before its end mark", path=path,
                      remedy="Copy or download it again.") from None
    except _DAMAGED as error:
        raise BadScan("the compressed file is corrupt", path=path, found=error,
                      remedy="Copy or download it again.") from None
    except OSError as error:
        raise BadScan("the file cannot be read", path=path,
                      found=error.strerror or error) from None


def first_bytes(path: Path, count: int) -> bytes:
    """Up to `count` leading bytes after unpacking; empty where they cannot be read."""
    try:
        with open_bytes(path) as stream:
            return stream.read(count)
    except BadScan:
        return b""


def read_array(
    stream: BinaryIO, path: Path, *, offset: int, skip: int, shape: tuple[int, ...],
    dtype: np.dtype[Any], behind: int = 0,
) -> NDArray[Any]:
    """An array, first axis fastest, that lies `offset + skip` bytes into the content.

    A compressed stream is read to its end, so that its checksum is proven.

    Args:
        stream: from `open_bytes`, at its start.
        path: the file, for messages.
        offset: where the voxels of all volumes start.
        skip: bytes of volumes before the one wanted.
        shape: voxels along each axis.
        dtype: as stored, with byte order.
        behind: bytes of volumes after the one wanted.

    Raises:
        BadScan: the content is shorter than header and shape ask for; checked against the
            size of the file before anything is allocated.
    """
    wanted = dtype.itemsize
    for size in shape:
        wanted *= int(size)
    _check_size(stream, path, offset + skip + wanted + behind)
    try:
        array = np.empty(shape, dtype=dtype, order="F")
    except (MemoryError, ValueError):
        raise BadScan("the volume does not fit into memory", path=path,
                      found=f"{'x'.join(map(str, shape))} voxels, {wanted} bytes") from None
    _forward(stream, path, offset + skip)
    _fill(stream, path, array.reshape(-1, order="F").view(np.uint8))
    if _is_packed(stream):
        _drain(stream, path, behind + _MOST_TRAILING)
    return array


def _is_packed(stream: object) -> bool:
    return isinstance(stream, igzip.IGzipFile)


def _check_size(stream: BinaryIO, path: Path, wanted: int) -> None:
    there = path.stat().st_size
    if _is_packed(stream):
        there = there * _MOST_EXPANSION
    if wanted > there:
        raise BadScan(
            "the file is truncated or its header is corrupt: fewer data than the header tells",
            path=path, found=f"at most {there} bytes", expected=f"{wanted} bytes",
            remedy="Copy or download it again.",
        )


def _forward(stream: BinaryIO, path: Path, count: int) -> None:
    """Go to byte `count` without holding what lies before."""
    if stream.seekable() and not _is_packed(stream):
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
        if isinstance(stream, io.BufferedReader):
            count = stream.readinto(view[done:])
        else:
            block = _some(stream, path, min(len(view) - done, _CHUNK))
            count = len(block)
            view[done:done + count] = block
        if not count:
            raise _too_short(path)
        done += count


def _drain(stream: BinaryIO, path: Path, most: int) -> None:
    """Read to the end of a compressed stream: only there its checksum is compared."""
    while block := stream.read(_CHUNK):
        most -= len(block)
        if most < 0:
            raise BadScan("far more data follow the volume than its header tells", path=path)


def _some(stream: BinaryIO, path: Path, count: int) -> bytes:
    block = stream.read(count)
    if not block:
        raise _too_short(path)
    return block


def _too_short(path: Path) -> BadScan:
    return BadScan("the file is truncated: it ends before the last voxel", path=path,
                   remedy="Copy or download it again.")
