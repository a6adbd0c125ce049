"""Rigid registration: where a scan lies when its anatomy is laid onto that of another scan.

Mattes mutual information (doi:10.1109/TMI.2003.809072) over three resolutions, by SimpleITK. The
scan itself is not resampled: its grid is moved, so that one interpolation is enough afterwards.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from medseg.errors import GridMismatch
from medseg.geometry import LPS_SIGNS, LPS_TO_RAS, Geometry
from medseg.volume import Volume

#: A head or a body does not turn or travel further between two series of one examination.
MOST_DEGREES, MOST_MM = 45.0, 100.0

#: Voxels are averaged down to about this size before the search: finer ones cost time and the
#: optimum of mutual information does not move by a tenth of it.
_SEARCH_MM = 2.0

#: Voxels of the fixed scan that the metric looks at; ITK shifts their raster by a random number.
_SAMPLES, _SEED = 1e5, 20030801

#: Mutual information (nats) of scans that have anything in common, and by which share of it a true
#: optimum is better than its surroundings. Two volumes of noise reach 0.01.
_LEAST_INFORMATION, _LEAST_GAIN = 0.05, 0.05

#: Share of the fixed scan's field that the moved scan must cover.
_LEAST_OVERLAP = 0.25

#: A true optimum is better than places this far from it.
_PROBE_MM, _PROBE_DEGREES = 12.0, 12.0


@dataclass(frozen=True, eq=False)
class RigidMove:
    """How a scan was moved to lie on another.

    Attributes:
        matrix: (4, 4) float64, RAS mm of the scan as its header says to RAS mm where it lies.
        mm: distance that the centre of the scan travelled.
        degrees: angle of the rotation.
    """

    matrix: NDArray[np.float64]
    mm: float
    degrees: float

    def applied_to(self, geometry: Geometry) -> Geometry:
        """The same voxels at their new place."""
        return Geometry(geometry.shape, self.matrix @ geometry.affine)


def registered(scan: Volume, fixed: Volume) -> Volume:
    """The scan on a moved grid of its own, on which its anatomy lies on that of `fixed`.

    The size of the move is in the warnings, the move itself in ``origin.moves``.

    Raises:
        GridMismatch: no plausible place was found; says what the search ended with.
    """
    move = register(scan, fixed)
    name = scan.channels[0] if len(scan.channels) == 1 else "scan"
    origin = replace(
        scan.origin,
        forms=None,
        instances=None,
        moves=(*scan.origin.moves, (name, tuple(map(float, move.matrix.ravel())))),
    )
    moved = replace(scan, geometry=move.applied_to(scan.geometry), origin=origin)
    return moved.with_warning(f"registered: moved by {move.mm:.1f} mm and {move.degrees:.1f}°")


def register(scan: Volume, fixed: Volume) -> RigidMove:
    """The rigid move that lays the anatomy of a scan onto that of another.

    The search starts where the headers put the scan, and where the centres of both fields
    coincide; the better end counts. The same scans give the same move: one thread, no random
    samples.

    Args:
        scan: the one to move; its first channel is looked at.
        fixed: the one that stays.

    Raises:
        GridMismatch: a sheared grid, a flat optimum, too little overlap, or a move that no
            patient makes.
    """
    for volume in (scan, fixed):
        if not volume.geometry.is_orthogonal:
            raise GridMismatch(
                "a scan with a tilted gantry cannot be registered: its grid is sheared",
                path=volume.origin.path,
                remedy="Resample it to a grid without tilt first.",
            )
    moving_image, fixed_image = _image(scan), _image(fixed)
    ends = [_search(fixed_image, moving_image, start) for start in _starts(fixed, scan)]
    value, euler = min(ends, key=lambda end: end[0])
    lps = np.eye(4)
    lps[:3, :3] = np.array(euler.GetMatrix()).reshape(3, 3)
    lps[:3, 3] = np.array(euler.TransformPoint((0.0, 0.0, 0.0)))
    # ITK maps points of the fixed image to the moving one; the scan moves the other way
    matrix = np.asarray(np.linalg.inv(LPS_TO_RAS @ lps @ LPS_TO_RAS), dtype=np.float64)
    move = _move(matrix, scan.geometry)
    _refuse_implausible(move, scan, fixed)
    _refuse_flat(fixed_image, moving_image, euler, value, scan)
    return move


def _image(volume: Volume) -> sitk.Image:
    """The first channel averaged down to the size of the search, in LPS as ITK counts."""
    values = volume.measured()[0]
    affine = LPS_TO_RAS @ volume.geometry.affine
    spacing = np.array(volume.geometry.spacing_mm)
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
    image.SetSpacing([float(mm) for mm in spacing])
    image.SetOrigin([float(mm) for mm in affine[:3, 3]])
    image.SetDirection([float(c) for c in (affine[:3, :3] / spacing).ravel()])
    shrink = [
        int(max(1, min(_SEARCH_MM // mm, size // 16)))
        for mm, size in zip(spacing, volume.geometry.shape, strict=True)
    ]
    return sitk.BinShrink(image, shrink) if max(shrink) > 1 else image


def _centre(geometry: Geometry) -> NDArray[np.float64]:
    """Of the field, in RAS mm."""
    return np.asarray(geometry.corners_mm().mean(axis=0))


def _starts(fixed: Volume, scan: Volume) -> list[NDArray[np.float64]]:
    """Translations in LPS mm to start from: none, and from centre to centre."""
    offset = (_centre(scan.geometry) - _centre(fixed.geometry)) * LPS_SIGNS
    starts = [np.zeros(3), np.asarray(offset)]
    return starts if np.linalg.norm(offset) > 1 else starts[:1]


def _search(
    fixed: sitk.Image, moving: sitk.Image, start: NDArray[np.float64]
) -> tuple[float, sitk.Euler3DTransform]:
    """Where the search ends from one start, and the metric there (smaller is better)."""
    centre = fixed.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in fixed.GetSize()])
    euler = sitk.Euler3DTransform(centre, 0.0, 0.0, 0.0, [float(mm) for mm in start])
    method = _method(fixed)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=4.0, minStep=3e-4, numberOfIterations=300, relaxationFactor=0.8
    )
    method.SetOptimizerScalesFromPhysicalShift()
    levels = [n for n in (4, 2, 1) if min(fixed.GetSize()) // n >= 4]
    method.SetShrinkFactorsPerLevel(levels)
    method.SetSmoothingSigmasPerLevel([float(n - 1) for n in levels])
    method.SetInitialTransform(euler, inPlace=True)
    try:
        method.Execute(fixed, moving)
    except RuntimeError:  # ITK: no sample of the fixed scan falls into the moving one
        return np.inf, euler
    return float(method.GetMetricValue()), euler


def _method(fixed: sitk.Image) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=48)
    method.SetMetricSamplingStrategy(method.REGULAR)
    samples = fixed.GetNumberOfPixels()
    method.SetMetricSamplingPercentage(float(min(1.0, _SAMPLES / samples)), _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _move(matrix: NDArray[np.float64], geometry: Geometry) -> RigidMove:
    centre = np.append(_centre(geometry), 1.0)
    cosine = np.clip((np.trace(matrix[:3, :3]) - 1) / 2, -1, 1)
    travelled = float(np.linalg.norm((matrix @ centre - centre)[:3]))
    return RigidMove(matrix, travelled, float(np.degrees(np.arccos(cosine))))


def _refuse_implausible(move: RigidMove, scan: Volume, fixed: Volume) -> None:
    offset = float(np.linalg.norm(_centre(scan.geometry) - _centre(fixed.geometry)))
    most_mm = MOST_MM if scan.origin.frame == fixed.origin.frame else MOST_MM + offset
    if move.degrees > MOST_DEGREES or move.mm > most_mm:
        raise _refusal(
            scan,
            f"a move of {move.mm:.1f} mm and {move.degrees:.1f}°",
            f"at most {most_mm:.0f} mm and {MOST_DEGREES:.0f}°",
        )
    moved = move.applied_to(scan.geometry)
    axes = [np.linspace(0, n - 1, min(n, 24)) for n in fixed.geometry.shape]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    index = moved.to_index(fixed.geometry.to_world(points))
    inside = ((index >= -0.5) & (index <= np.array(moved.shape) - 0.5)).all(axis=1)
    if inside.mean() < _LEAST_OVERLAP:
        raise _refusal(
            scan,
            f"an overlap of {inside.mean():.0%}",
            f"at least {_LEAST_OVERLAP:.0%} of the field",
        )


def _refuse_flat(
    fixed: sitk.Image, moving: sitk.Image, euler: sitk.Euler3DTransform, value: float, scan: Volume
) -> None:
    """Refuse an end that is no better than its surroundings: the scans do not show the same."""
    method = _method(fixed)
    around = [_value(method, fixed, moving, probe) for probe in _probes(euler)]
    if not -value > _LEAST_INFORMATION or min(around) < value * (1 - _LEAST_GAIN):
        raise _refusal(scan, "no optimum: other places fit as well", "scans of the same anatomy")


def _probes(euler: sitk.Euler3DTransform) -> Iterator[sitk.Euler3DTransform]:
    """Transforms a clear step away in each of the six directions, both ways."""
    for axis, sign in itertools.product(range(6), (-1, 1)):
        probe = sitk.Euler3DTransform(euler)
        parameters = list(probe.GetParameters())
        parameters[axis] += sign * (np.radians(_PROBE_DEGREES) if axis < 3 else _PROBE_MM)
        probe.SetParameters(parameters)
        yield probe


def _value(
    method: sitk.ImageRegistrationMethod,
    fixed: sitk.Image,
    moving: sitk.Image,
    transform: sitk.Euler3DTransform,
) -> float:
    method.SetInitialTransform(transform)
    try:
        return float(method.MetricEvaluate(fixed, moving))
    except RuntimeError:
        return np.inf


def _refusal(scan: Volume, found: str, expected: str) -> GridMismatch:
    return GridMismatch(
        "registration found no plausible place for the scan",
        path=scan.origin.path,
        found=found,
        expected=expected,
        remedy="Look at both scans side by side; register them by hand, or leave the case out.",
    )
