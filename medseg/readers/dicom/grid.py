"""The regular grid that the planes of a stack make, or why they make none.

The grid comes from positions and orientations alone (PS3.3, C.7.6.2.1.1): thickness, spacing
between slices, gantry tilt, slice location and instance numbers are only claims. Positions are
DICOM's (LPS) until the affine, which is RAS.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadScan
from medseg.geometry import LPS_TO_RAS, Geometry
from medseg.readers.dicom.frames import Frame
from medseg.readers.dicom.tilt import MOST_TILT_DEGREES, tilt_of
from medseg.readers.grid import scan_geometry

#: A slice may lie this far from its place without a word: headers round their decimals.
QUIET_MM, QUIET_STEP = 0.01, 0.01
#: ... and this share of a step with a warning; beyond, the stack is refused.
LOUD_STEP = 0.10
#: Lengths and right angles of direction cosines may be off by this much.
_COSINE_OFF = 5e-3
#: Some writers round positions to this; a finer stack than so many of it may hide a gap.
_ROUNDING_MM, _LEAST_ROUNDED_STEP, _MOST_ROUNDED = 0.1, 2.3, 2000
_ROUNDED = "slice positions are rounded to 0.1 mm; the even spacing that explains them is used"


def normal_of(frame: Frame) -> NDArray[np.float64]:
    """Unit normal of a frame, LPS: rows crossed with columns.

    Raises:
        BadScan: the orientation is missing or its cosines are not at right angles.
    """
    row, column = _directions(frame)
    normal = np.cross(row, column)
    return np.asarray(normal / np.linalg.norm(normal))


def _directions(frame: Frame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if frame.orientation is None:
        raise BadScan("no ImageOrientationPatient: the geometry is unknown")
    cosines = np.array(frame.orientation, dtype=np.float64).reshape(2, 3)
    lengths = np.linalg.norm(cosines, axis=1)
    if np.abs(lengths - 1).max() > _COSINE_OFF or abs(cosines[0] @ cosines[1]) > _COSINE_OFF:
        raise BadScan(
            "ImageOrientationPatient is not two unit vectors at right angles",
            found=[round(c, 4) for c in frame.orientation],
        )
    unit = cosines / lengths[:, None]
    return unit[0], unit[1]


def grid_of(
    frames: Sequence[Frame], rows: int, columns: int, path: str
) -> tuple[Geometry, tuple[str, ...]]:
    """The grid of planes sorted along their normal, and what the user should know of it.

    Args:
        frames: one for each position, in order; same orientation and spacing.
        rows: of each plane.
        columns: of each plane.
        path: what to call the scan in messages.

    Raises:
        BadScan: the planes are not evenly spaced on one line, or a header value is impossible.
    """
    first = frames[0]
    row, column = _directions(first)
    normal = np.cross(row, column)
    if first.spacing is None or min(first.spacing) <= 0:
        raise BadScan(
            "no usable PixelSpacing: the geometry is unknown", path=path, found=first.spacing
        )
    positions = np.array([frame.position for frame in frames], dtype=np.float64)
    warnings: tuple[str, ...]
    if len(frames) == 1:
        origin, step = positions[0], normal * _thickness(first, path)
        warnings = ("a single slice: its thickness is the header's",)
    else:
        line = rounded_line(positions, [normal * mm for mm in _claimed_mm(first)])
        origin, step = line or (positions[0], (positions[-1] - positions[0]) / (len(frames) - 1))
        warnings = (_ROUNDED,) if line else _check_line(positions, step, normal, path)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * first.spacing[1], column * first.spacing[0]
    affine[:3, 2], affine[:3, 3] = step, origin
    shape = (columns, rows, len(frames))
    return scan_geometry(shape, LPS_TO_RAS @ affine, Path(path)), warnings


def _thickness(frame: Frame, path: str) -> float:
    for value in (frame.thickness, frame.between):
        if value is not None and value > 0:
            return value
    raise BadScan("a single slice without a usable SliceThickness: no volume", path=path)


def _claimed_mm(frame: Frame) -> list[float]:
    """Distances of slices that the header claims, the better claim first."""
    return [mm for mm in (frame.between, frame.thickness) if mm is not None and mm > 0]


def rounded_line(
    positions: NDArray[np.float64], claimed: Sequence[NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """First position and step of a fine stack whose positions were rounded to 0.1 mm.

    Only where the positions are too uneven without it, and each lies within the rounding of one
    line: of a claimed step, else of the best one.

    Args:
        positions: of the slices in order, LPS mm.
        claimed: steps that headers claim, LPS mm, the better claim first.

    Returns:
        Both in LPS mm; ``None`` where rounding does not explain the positions.
    """
    numbers = np.arange(len(positions))[:, None]
    ends = (positions[-1] - positions[0]) / (len(positions) - 1)
    length_mm = float(np.linalg.norm(ends))
    off_mm = np.linalg.norm(positions - (positions[0] + numbers * ends), axis=1).max()
    tenths = positions / _ROUNDING_MM
    if (
        off_mm <= max(LOUD_STEP * length_mm, QUIET_MM + QUIET_STEP * length_mm)
        or length_mm < _LEAST_ROUNDED_STEP * _ROUNDING_MM
        or len(positions) > _MOST_ROUNDED
        or np.abs(tenths - np.rint(tenths)).max() > 1e-6
    ):
        return None
    for step in (*claimed, _step_between(positions)):
        offsets = positions - numbers * step
        if np.ptp(offsets, axis=0).max() <= _ROUNDING_MM + 1e-6:
            return (offsets.max(0) + offsets.min(0)) / 2, step
    return None


def _step_between(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """The middle of the steps that put every position within its rounding, if there are any."""
    one, other = np.triu_indices(len(positions), 1)
    apart, count = positions[other] - positions[one], (other - one)[:, None]
    least = ((apart - _ROUNDING_MM) / count).max(0)
    most = ((apart + _ROUNDING_MM) / count).min(0)
    return np.asarray((least + most) / 2)


def _check_line(
    positions: NDArray[np.float64],
    step: NDArray[np.float64],
    normal: NDArray[np.float64],
    path: str,
) -> tuple[str, ...]:
    length_mm = float(np.linalg.norm(step))
    degrees, tilt = tilt_of(step, normal, len(positions))
    off = np.linalg.norm(
        positions - (positions[0] + np.arange(len(positions))[:, None] * step), axis=1
    )
    worst_mm = float(off.max())
    if worst_mm > max(LOUD_STEP * length_mm, QUIET_MM + QUIET_STEP * length_mm):
        raise BadScan(
            _uneven(positions, normal),
            path=path,
            found=f"a slice {worst_mm:.3g} mm from its place"
            + (f"; {tilt} as well" if tilt else ""),
            expected=f"one every {length_mm:.4g} mm on one line",
            remedy="Find the missing slices, or export the series again.",
        )
    if degrees > MOST_TILT_DEGREES:
        raise BadScan(
            "the slices do not follow each other: positions and orientation contradict",
            path=path,
            found=f"an angle of {degrees:.0f} degrees",
        )
    warnings = [f"{tilt}; kept as shear in the affine, nothing resampled"] if tilt else []
    if worst_mm > QUIET_MM + QUIET_STEP * length_mm:
        warnings.append(
            f"slice positions are uneven: up to {worst_mm:.3f} mm from an even "
            f"spacing of {length_mm:.4g} mm"
        )
    return tuple(warnings)


def _uneven(positions: NDArray[np.float64], normal: NDArray[np.float64]) -> str:
    """What is wrong with positions that are not evenly spaced: a gap, or a crooked line."""
    steps = np.diff(positions @ normal)
    usual = float(np.median(steps))
    sideways = np.diff(positions, axis=0) - steps[:, None] * normal
    bend = float(np.abs(sideways - np.median(sideways, axis=0)).max())
    if bend > LOUD_STEP * usual and np.abs(steps - usual).max() <= LOUD_STEP * usual:
        return "the slice positions do not lie on one line (uneven slice positions)"
    least, most = float(steps.min()), float(steps.max())
    ratios = steps / least
    missing = int(np.rint(ratios - 1).sum())
    if np.abs(ratios - np.rint(ratios)).max() < LOUD_STEP and 0 < missing < len(positions):
        return (
            f"slices are missing: a gap in the slice spacing, {least:.4g} to {most:.4g} mm "
            f"({missing} missing, if the least spacing is the true one)"
        )
    return f"irregular slice spacing, {least:.4g} to {most:.4g} mm (missing slices or a gap?)"
