"""How far apart are two surfaces?  Hausdorff distances, average distances, surface Dice.

The surface of a mask consists of surfels: cubes of eight neighbouring voxel centres that are
not all inside or all outside, each weighted with the area that marching cubes cuts in it.
Distances run between cube centres. The definitions are those of Nikolov et al. 2021
(doi:10.2196/26151), extended to any affine: distances and areas are exact on anisotropic and on
sheared grids. Outside of the arrays there is nothing, so that a mask that touches the
border of the scan has a surface there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.metrics.nearest import REACH, nearest_mm, passes
from medseg.metrics.surfels import surfel_areas

#: Voxels encoded together: small enough for the processor's cache.
CACHED_VOXELS = 200_000


@dataclass(frozen=True, eq=False)
class Distances:
    """Distances from the surfels of one surface to the other surface, ascending.

    Attributes:
        mm: (N,) distance of each surfel to the nearest surfel of the other surface.
        mm2: (N,) area of each.
    """

    mm: NDArray[np.float64]
    mm2: NDArray[np.float64]

    @property
    def area_mm2(self) -> float:
        """Area of the surface."""
        return float(self.mm2.sum())

    def percentile(self, percent: float) -> float:
        """The smallest distance within which this share of the surface's area lies."""
        share = np.cumsum(self.mm2) / self.mm2.sum()
        return float(self.mm[min(int(np.searchsorted(share, percent / 100)), len(self.mm) - 1)])

    def area_within(self, tolerance_mm: float) -> float:
        """Area no farther than the tolerance from the other surface, in mm^2."""
        return float(self.mm2[: np.searchsorted(self.mm, tolerance_mm, side="right")].sum())


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances both ways."""

    from_truth: Distances
    from_prediction: Distances


def surface_distances(
    truth: NDArray[np.bool_], prediction: NDArray[np.bool_], steps_mm: NDArray[np.float64]
) -> SurfaceDistances:
    """Distances between the surfaces of two masks, neither of them empty.

    Args:
        truth: (X, Y, Z) mask.
        prediction: (X, Y, Z) mask on the same grid.
        steps_mm: (3, 3) steps of the grid, one a column.
    """
    steps_mm = np.ascontiguousarray(steps_mm, dtype=np.float64)
    areas = surfel_areas(steps_mm)
    true_codes, found_codes = cube_codes(truth), cube_codes(prediction)
    true_cubes = np.flatnonzero(passes(true_codes))
    found_cubes = np.flatnonzero(passes(found_codes))
    return SurfaceDistances(
        _ascending(
            nearest_mm(true_cubes, found_cubes, found_codes, steps_mm),
            areas.take(true_codes.ravel().take(true_cubes)),
        ),
        _ascending(
            nearest_mm(found_cubes, true_cubes, true_codes, steps_mm),
            areas.take(found_codes.ravel().take(found_cubes)),
        ),
    )


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


def _ascending(mm: NDArray[np.float64], mm2: NDArray[np.float64]) -> Distances:
    order = np.argsort(mm)
    return Distances(mm.take(order), mm2.take(order))
