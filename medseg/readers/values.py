"""What becomes of stored numbers that no network may see: NaN, infinities, mad scalings."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadScan


class NonFinite(StrEnum):
    """What becomes of NaN and infinite voxels."""

    #: The smallest finite value of the scan: what no tissue looks darker than.
    SMALLEST = "smallest"
    #: As stored, for conversion; networks must not see them.
    KEEP = "keep"


def finite_values(
    data: NDArray[Any], slope: float, intercept: float, *, path: Path, nonfinite: NonFinite
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Integers as they are; floats as float32 without NaN and infinities, and what to warn of.

    Args:
        data: stored numbers; may be changed in place.
        slope: scaling of the stored numbers.
        intercept: real-world value of a stored zero.
        path: the file, for messages.
        nonfinite: what becomes of NaN and infinite voxels.

    Raises:
        BadScan: no voxel is finite, or the scaling leaves float32's range.
    """
    warnings: tuple[str, ...] = ()
    if data.dtype.kind == "f":
        with np.errstate(over="ignore"):
            data = np.asarray(data, dtype=np.float32, order="F")
        data, warnings = _replace(data, slope, intercept, path, nonfinite)
    if (slope, intercept) != (1.0, 0.0):
        _check_scaled(data, slope, intercept, path)
    return data, warnings


def _replace(
    data: NDArray[Any], slope: float, intercept: float, path: Path, nonfinite: NonFinite
) -> tuple[NDArray[Any], tuple[str, ...]]:
    with np.errstate(invalid="ignore"):
        if np.isfinite([data.min(), data.max()]).all():
            return data, ()
    finite = np.isfinite(data)
    if not finite.any():
        raise BadScan("no voxel has a finite value (all are NaN or infinite)", path=path)
    count, nans = int((~finite).sum()), int(np.isnan(data).sum())
    notice = f"{count} voxels are not finite ({nans} NaN, {count - nans} infinite)"
    if nonfinite is NonFinite.KEEP:
        return data, (f"{notice}; kept as they are",)
    smallest = data[finite].min() if slope > 0 else data[finite].max()
    data[~finite] = smallest
    value = float(smallest) * slope + intercept
    return data, (f"{notice}; replaced by the smallest finite value, {value:.6g}",)


def _check_scaled(data: NDArray[Any], slope: float, intercept: float, path: Path) -> None:
    finite = data if data.dtype.kind in "iu" else data[np.isfinite(data)]
    for stored in (float(finite.min()), float(finite.max())):
        if abs(stored * slope + intercept) > float(np.finfo(np.float32).max):
            raise BadScan(
                "the scaling throws values out of range",
                path=path,
                found=f"slope {slope:g}, intercept {intercept:g}",
            )
