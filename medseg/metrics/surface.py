"""Distances between the surfaces of two masks, each distance weighted with its area.

The surface of a mask consists of surfels: cubes of eight neighbouring voxel centres that are
not all inside or all outside, each weighted with the area that marching cubes cuts in it.
Distances run between cube centres. The definitions are those of Nikolov et al. 2021
(doi:10.2196/26151), extended to any affine: steps of anisotropic and sheared grids are measured
in the world. Outside of the arrays there is nothing, so that a mask that touches the border of
the scan has a surface there. A cube that touches an ignored voxel holds no surfel of either
mask: nobody knows what passes there. ``docs/metrics.md`` states the bias of these definitions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.geometry.precision import HEADER_PRECISION, reach_mm
from medseg.metrics.nearest import REACH, nearest_mm, passes
from medseg.metrics.surfels import surfel_areas

#: Voxels encoded together: small enough for the processor's cache.
CACHED_VOXELS = 200_000


@dataclass(frozen=True, eq=False)
class Distances:
    """Distances from the surfels of one surface to the other surface, ascending.

    Attributes:
        mm: (N,) distance of each surfel to the nearest surfel of the other surface; infinite
            where the other surface is out of sight behind ignored voxels.
        mm2: (N,) area of each.
        voxel_mm: shortest step of the grid.
    """

    mm: NDArray[np.float64]
    mm2: NDArray[np.float64]
    voxel_mm: float

    @property
    def area_mm2(self) -> float:
        """Area of the surface."""
        return float(self.mm2.sum())

    def percentile(self, percent: float) -> float:
        """The smallest distance within which this share of the surface's area lies."""
        share = np.cumsum(self.mm2) / self.mm2.sum()
        enough = percent / 100 - HEADER_PRECISION  # areas are as rounded as the header
        return float(self.mm[min(int(np.searchsorted(share, enough)), len(self.mm) - 1)])

    def area_within(self, tolerance_mm: float) -> float:
        """Area no farther than the tolerance from the other surface, in mm^2."""
        limit_mm = reach_mm(tolerance_mm, self.voxel_mm)
        return float(self.mm2[: np.searchsorted(self.mm, limit_mm, side="right")].sum())


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances both ways; a way is empty where ignored voxels hide that whole surface."""

    from_truth: Distances
    from_prediction: Distances

    @property
    def seen(self) -> bool:
        """Whether something of both surfaces is in sight."""
        return bool(len(self.from_truth.mm) and len(self.from_prediction.mm))


def surface_distances(
    truth: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    steps_mm: NDArray[np.float64],
    ignored: NDArray[np.bool_] | None = None,
) -> SurfaceDistances:
    """Distances between the surfaces of two masks, neither of them empty.

    Args:
        truth: (X, Y, Z) mask.
        prediction: (X, Y, Z) mask on the same grid.
        steps_mm: (3, 3) steps of the grid, one a column.
        ignored: (X, Y, Z) voxels of which the truth says nothing; surfels that touch them count
            neither as a surface nor as the nearest point of one.
    """
    steps_mm = np.ascontiguousarray(steps_mm, dtype=np.float64)
    codes = [cube_codes(mask) for mask in (truth, prediction)]
    if ignored is not None:
        hidden = cube_codes(ignored) > 0
        for each in codes:
            each[hidden] = 0
    cubes = [np.flatnonzero(passes(each)) for each in codes]
    return SurfaceDistances(
        _distances(cubes[0], cubes[1], codes[0], codes[1], steps_mm),
        _distances(cubes[1], cubes[0], codes[1], codes[0], steps_mm),
    )


def _distances(
    cubes: NDArray[np.intp],
    others: NDArray[np.intp],
    codes: NDArray[np.uint8],
    other_codes: NDArray[np.uint8],
    steps_mm: NDArray[np.float64],
) -> Distances:
    """Distances from the cubes of one surface to those of the other, ascending."""
    if len(others):
        mm = nearest_mm(cubes, others, other_codes, steps_mm)
    else:
        mm = np.full(len(cubes), np.inf)
    mm2 = surfel_areas(steps_mm).take(codes.ravel().take(cubes))
    order = np.argsort(mm)
    voxel_mm = float(np.linalg.norm(steps_mm, axis=0).min())
    return Distances(mm.take(order), mm2.take(order), voxel_mm)


def cube_codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Which corners of each cube of eight voxel centres are inside (bits), in C order.

    The cubes around the (X, Y, Z) mask are (X+1, Y+1, Z+1); `REACH` empty ones surround them.
    """
    x, y, z = mask.shape
    codes = np.zeros((x + 1 + 2 * REACH, y + 1 + 2 * REACH, z + 1 + 2 * REACH), dtype=np.uint8)
    inner = codes[REACH:-REACH, REACH:-REACH, REACH:-REACH]
    thick = max(1, CACHED_VOXELS // ((y + 2) * (z + 2)))
    for start in range(0, x + 1, thick):
        stop = min(start + thick, x + 1)
        inside = np.zeros((stop - start + 1, y + 2, z + 2), dtype=np.uint8)
        low, high = max(start - 1, 0), min(stop, x)
        inside[low - start + 1 : high - start + 1, 1:-1, 1:-1] = mask[low:high]
        _encode(inside, inner[start:stop])
    return codes


def _encode(inside: NDArray[np.uint8], codes: NDArray[np.uint8]) -> None:
    """Fill codes (x, y, z) from corners (x+1, y+1, z+1) of 0 and 1."""
    pairs = inside[1:] << 1
    pairs |= inside[:-1]
    squares = pairs[:, 1:] << 2
    squares |= pairs[:, :-1]
    np.left_shift(squares[:, :, 1:], 4, out=codes)
    codes |= squares[:, :, :-1]
