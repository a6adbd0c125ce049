"""The pixels of a volume's planes become one array of stored numbers and their scaling.

Only the modality LUT is applied (slope and intercept, for each plane its own); nothing is
inverted or windowed for display.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadScan
from medseg.readers.dicom.decode import FrameReader
from medseg.readers.dicom.file import Pixels, Plane
from medseg.readers.dicom.stacks import Candidate
from medseg.readers.limits import refuse_expansion
from medseg.readers.sources import Source, open_each


@dataclass(frozen=True, eq=False)
class Voxels:
    """The numbers of a volume.

    Attributes:
        data: (X, Y, Z); real-world values are ``data * slope + intercept``.
        slope: of the modality LUT.
        intercept: of the modality LUT.
        padding_value: real-world value outside the scanned field, or ``None``.
        warnings: what is accepted but should be said.
    """

    data: NDArray[Any]
    slope: float
    intercept: float
    padding_value: float | None
    warnings: tuple[str, ...]


def read_voxels(candidate: Candidate, name: str) -> Voxels:
    """Decode every plane of a volume into one array.

    Raises:
        BadScan: a plane cannot be decoded, or two images at one position differ.
    """
    planes = candidate.planes
    rows, columns = planes[0].matrix
    scaling = _common_scaling(planes)
    dtype = _dtype(planes, scaled=scaling is None)
    size = len(planes) * rows * columns * dtype.itemsize
    packed = sum({plane.file.source: plane.file.source.size for plane in planes}.values())
    refuse_expansion(name, packed=packed, unpacked=size)
    _refuse_giant(size, name)
    stack = np.empty((len(planes), rows, columns), dtype)
    wanted: dict[Source, list[tuple[int, Plane]]] = {}
    for place, plane in [*enumerate(planes), *candidate.copies]:
        wanted.setdefault(plane.file.source, []).append((place, plane))
    filled: dict[int, Plane] = {}
    odd = 0
    for source, stream in open_each(wanted):
        reader = FrameReader(stream, wanted[source][0][1].pixels, source)
        for place, plane in sorted(wanted[source], key=lambda item: item[1].frame.index):
            pixels = _cut(reader.read(plane.frame.index), plane)
            if scaling is None:
                pixels = _scale(pixels, plane, dtype)
            if place in filled:
                _refuse_conflict(stack[place], pixels, filled[place], plane)
                continue
            stack[place] = pixels
            filled[place] = plane
        odd += reader.odd_bits
    slope, intercept = scaling or (1.0, 0.0)
    warnings = (
        (
            f"{odd} files had numbers beyond the bits that count (old overlays); "
            "those bits were dropped",
        )
        if odd
        else ()
    )
    return Voxels(stack.transpose(2, 1, 0), slope, intercept, _padding(planes), warnings)


def _cut(pixels: NDArray[Any], plane: Plane) -> NDArray[Any]:
    """The plane's own part of its frame."""
    if plane.frame.tile is None:
        return pixels
    row, column, rows, columns = plane.frame.tile
    return pixels[row : row + rows, column : column + columns]


def _common_scaling(planes: Sequence[Plane]) -> tuple[float, float] | None:
    """Slope and intercept that all planes share; ``None`` where each has its own, or a table."""
    scalings = {(plane.frame.slope, plane.frame.intercept) for plane in planes}
    for slope, _ in scalings:
        if slope == 0:
            raise BadScan("RescaleSlope is 0: the values are lost", path=planes[0].file.source.name)
    if len(scalings) > 1 or any(plane.pixels.lut for plane in planes):
        return None
    return scalings.pop()


def stored_dtype(pixels: Pixels) -> np.dtype[Any]:
    """The type of the stored numbers."""
    if pixels.form != "integer":
        return np.dtype(pixels.form)
    return np.dtype(f"{'i' if pixels.signed else 'u'}{pixels.allocated // 8}")


def _dtype(planes: Sequence[Plane], *, scaled: bool) -> np.dtype[Any]:
    """What holds the numbers of all planes: stored ones, or scaled ones."""
    kinds = {stored_dtype(plane.pixels) for plane in planes}
    dtype = np.result_type(*kinds)
    if dtype == np.float64:
        return np.dtype(np.float32)
    if not scaled:
        return dtype
    whole = all(
        float(plane.frame.slope).is_integer() and float(plane.frame.intercept).is_integer()
        for plane in planes
    )
    return np.dtype(
        np.int32 if whole and dtype.kind in "iu" and dtype.itemsize <= 2 else np.float32
    )


def _scale(pixels: NDArray[Any], plane: Plane, dtype: np.dtype[Any]) -> NDArray[Any]:
    values = pixels.astype(np.float64) * plane.frame.slope + plane.frame.intercept
    most = np.iinfo(dtype).max if dtype.kind == "i" else np.finfo(dtype).max
    if np.abs(values, where=np.isfinite(values), out=np.zeros_like(values)).max(initial=0) > most:
        raise BadScan("the scaled values do not fit into 32 bits", path=plane.file.source.name)
    return values.astype(dtype)


def _refuse_conflict(there: NDArray[Any], pixels: NDArray[Any], first: Plane, plane: Plane) -> None:
    """Two images at one position are fine only if they are one."""
    apart = np.subtract(first.frame.position or 0.0, plane.frame.position or 0.0)
    if (
        there.shape == pixels.shape
        and np.array_equal(there, pixels)
        and (np.abs(apart).max() <= 0.01 and first.frame.slope == plane.frame.slope)
    ):
        return
    raise BadScan(
        "two different images at the same position (conflicting duplicates)",
        path=plane.file.source.name,
        found=f"other pixels than in {first.file.source.name}",
        remedy="Remove the wrong one.",
    )


def _padding(planes: Sequence[Plane]) -> float | None:
    first = planes[0]
    if first.pixels.padding is None:
        return None
    return first.pixels.padding * first.frame.slope + first.frame.intercept


def _refuse_giant(size: int, name: str) -> None:
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return
    if size > memory:
        raise BadScan(
            "the volume is larger than this machine's memory",
            path=name,
            found=f"{size / 2**30:.0f} GiB",
            expected=f"{memory / 2**30:.0f} GiB at most",
        )
