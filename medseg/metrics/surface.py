"""How far apart are two surfaces?  Hausdorff distances, average distances, surface Dice.

The surface of a mask consists of surfels: cubes of eight neighbouring voxel centres that are
not all inside or all outside, each weighted with the area that marching cubes cuts in it.
Distances run between cube centres. The definitions are those of Nikolov et al. 2021
(doi:10.2196/26151), extended to any affine: distances and areas are exact on anisotropic and on
sheared grids. Outside of the arrays there is nothing, so that a mask that touches the
border of the scan has a surface there.

Nearest surfels are found with a k-d tree over the surfels, not with a distance transform
over the voxels: the same distances, at a cost that grows with the surface.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from medseg.metrics.surfels import surfel_areas


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
    areas = surfel_areas(steps_mm)
    true_codes, found_codes = cube_codes(truth), cube_codes(prediction)
    true_cubes, found_cubes = _surface(true_codes), _surface(found_codes)
    true_points = _centres_mm(true_cubes, true_codes.shape, steps_mm)
    found_points = _centres_mm(found_cubes, found_codes.shape, steps_mm)
    true_flat, found_flat = true_codes.ravel(), found_codes.ravel()
    return SurfaceDistances(
        _distances(true_points, _cut(found_flat[true_cubes]), found_points,
                   areas[true_flat[true_cubes]]),
        _distances(found_points, _cut(true_flat[found_cubes]), true_points,
                   areas[found_flat[found_cubes]]),
    )


def cube_codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(X+1, Y+1, Z+1) which corners of each cube of eight voxel centres are inside (bits)."""
    inside = np.pad(mask.view(np.uint8) if mask.dtype == bool else mask.astype(np.uint8), 1)
    pairs = inside[:-1] | inside[1:] << 1
    squares = pairs[:, :-1] | pairs[:, 1:] << 2
    return np.ascontiguousarray(squares[:, :, :-1] | squares[:, :, 1:] << 4)


def _cut(codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where the surface passes: neither all outside (0) nor all inside (255)."""
    return (codes - np.uint8(1)) < np.uint8(254)


def _surface(codes: NDArray[np.uint8]) -> NDArray[np.intp]:
    return np.flatnonzero(_cut(codes))


def _centres_mm(
    cubes: NDArray[np.intp], shape: tuple[int, ...], steps_mm: NDArray[np.float64]
) -> NDArray[np.float64]:
    index = np.stack(np.unravel_index(cubes, shape), axis=1).astype(np.float64)
    return np.asarray(index @ steps_mm.T)


def _distances(
    points: NDArray[np.float64], shared: NDArray[np.bool_], others: NDArray[np.float64],
    areas: NDArray[np.float64],
) -> Distances:
    """Distances of points to the nearest of others; `shared` points lie on one of them."""
    mm = np.zeros(len(points))
    apart = ~shared
    if apart.any():
        tree = KDTree(others, balanced_tree=False, compact_nodes=False)
        mm[apart] = tree.query(points[apart])[0]
    order: NDArray[Any] = np.argsort(mm, kind="stable")
    return Distances(mm[order], areas[order])
