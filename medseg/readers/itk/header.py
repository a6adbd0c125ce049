"""What an NRRD or MetaImage header has to say before its voxels can be read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadScan
from medseg.geometry import LPS_SIGNS
from medseg.readers.bytes import Packing

#: A text header is shorter than this; anything longer is no header.
MOST_HEADER_BYTES = 1 << 20

#: No header of a scan has a reason to say a larger number; NaN and infinity are none.
_MOST_NUMBER = 1e15

#: What headers call the unit that we count in, or leave blank.
MILLIMETRES = ("mm", "millimeter", "millimeters", "millimetre", "millimetres", "", "?", "???")

#: LPS to RAS.
FLIP = np.diag(LPS_SIGNS)


@dataclass(frozen=True, eq=False)
class ItkHeader:
    """The checked fields.

    Attributes:
        shape: voxels along the three spatial axes.
        volumes: how many 3D volumes the file holds, one behind the other.
        dtype: as stored, with byte order.
        affine: (4, 4) voxel index to RAS mm.
        voxels: the file that holds the voxels.
        start: byte of that file at which they, or their packed stream, start; ``None`` where
            they are the last bytes of the file.
        packing: of the bytes from there on.
        skip: bytes to skip after unpacking.
    """

    shape: tuple[int, int, int]
    volumes: int
    dtype: np.dtype[Any]
    affine: NDArray[np.float64]
    voxels: Path
    start: int | None
    packing: Packing
    skip: int = 0


def affine_from(axes: NDArray[np.float64], origin: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4, 4) from (3, 3) steps of the array axes, one a column, and the first voxel's centre."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes, origin
    return affine


def numbers(text: str, name: str, path: Path, count: int | None = None) -> list[float]:
    """Numbers of a sane size separated by blanks.

    Raises:
        BadScan: something else stands there, or not `count` of them.
    """
    try:
        values = [float(word) for word in text.split()]
    except ValueError:
        values = [math.nan]
    sane = all(abs(value) < _MOST_NUMBER for value in values)
    if not sane or (count is not None and len(values) != count):
        raise BadScan(
            f"the header's {name!r} is corrupt",
            path=path,
            found=repr(text[:60]),
            expected=f"{count or 'some'} numbers",
        )
    return values


def sizes(text: str, name: str, path: Path, count: int) -> list[int]:
    """Positive whole numbers, one an axis.

    Raises:
        BadScan: something else stands there.
    """
    values = numbers(text, name, path, count)
    if not all(value.is_integer() and 1 <= value < 2**40 for value in values):
        raise BadScan(
            "the header's dimensions are corrupt",
            path=path,
            found=text[:60],
            expected="axes of one voxel or more",
        )
    return [int(value) for value in values]


def voxel_file(path: Path, name: str) -> Path:
    """The file beside a detached header that holds its voxels.

    Raises:
        BadScan: it lies outside the header's own folder, is missing, or is one of several.
    """
    if name.upper().startswith("LIST") or "%" in name:
        raise BadScan(
            "the voxels are spread over several files, which is not read",
            path=path,
            remedy="Save the scan again as one file.",
        )
    folder = path.parent.resolve()
    try:
        target = (folder / name).resolve()
        inside, there = target.is_relative_to(folder), target.is_file()
    except (OSError, ValueError):
        inside, there = True, False
    if not inside:
        raise BadScan(
            "the detached header points to a file outside its own folder",
            path=path,
            remedy="Put the data file beside its header and name it there.",
        )
    if not there:
        raise BadScan(
            "the file that the detached header points to is missing",
            path=path,
            remedy="Keep the header and its data file together.",
        )
    return path.parent / name
