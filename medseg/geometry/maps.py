"""The map between two grids along the same axes: an offset and a step for each axis."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medseg.errors import GridMismatch
from medseg.geometry.grid import Geometry

#: Starts and steps are rounded to so many decimals of a voxel, so that a scan and its copy in
#: another storage order are mapped alike to the bit. Over 1000 voxels this moves nothing by more
#: than 1e-5 voxels.
_DECIMALS = 8

#: Positions this near to half-way, in decimals of a voxel, are half-way.
_TIE_DECIMALS = 6


@dataclass(frozen=True)
class AxisMap:
    """One axis of a separable map: ``source index = start + step * target index``.

    Attributes:
        source_axis: array axis of the source that feeds this target axis.
        source_size: voxels along it in the source.
        size: voxels along it in the target.
        start: fractional source index of the target's first voxel centre.
        step: source voxels per target voxel; negative where the axes run opposite.
    """

    source_axis: int
    source_size: int
    size: int
    start: float
    step: float

    def forwards(self) -> AxisMap:
        """The same map from the source read backwards, where that makes the step positive."""
        if self.step >= 0:
            return self
        start = round(self.source_size - 1 - self.start, _DECIMALS)
        return replace(self, start=start, step=-self.step)

    def ascending(self) -> AxisMap:
        """The same map with the target read backwards, where that makes the step positive."""
        if self.step >= 0:
            return self
        start = round(self.start + self.step * (self.size - 1), _DECIMALS)
        return replace(self, start=start, step=-self.step)

    @property
    def is_copy(self) -> bool:
        """Whether target voxels are source voxels, in order or reversed, none invented."""
        last = self.start + self.step * (self.size - 1)
        whole = abs(self.start - round(self.start)) < 1e-6 and abs(abs(self.step) - 1) < 1e-6
        return (
            whole
            and min(self.start, last) > -0.5
            and max(self.start, last) < self.source_size - 0.5
        )

    def source_index(self) -> NDArray[np.float64]:
        """(size,) fractional source index of every target voxel centre."""
        return self.start + self.step * np.arange(self.size, dtype=np.float64)


def nearest_voxel(position: NDArray[np.float64]) -> NDArray[np.float64]:
    """The whole number next to each position; of two that are equally near, the greater.

    >>> nearest_voxel(np.array([0.2, 0.5, 1.5, 1.4999999]))
    array([0., 1., 2., 2.])
    """
    return np.asarray(np.floor(np.round(position, _TIE_DECIMALS) + 0.5))


GridMap = tuple[AxisMap, AxisMap, AxisMap]


def grid_map(source: Geometry, target: Geometry) -> GridMap:
    """The separable map from each target axis to the source voxels that lie there.

    Both grids must share their axes up to order, direction, spacing and offset, as a working
    grid and its scan do; no history of transforms is needed.

    Raises:
        GridMismatch: the axes of the two grids are not parallel.
    """
    to_source = np.linalg.solve(source.affine, target.affine)
    maps = []
    for axis in range(3):
        column = to_source[:3, axis] * max(1, target.shape[axis] - 1)
        feeding = int(np.abs(column).argmax())
        if np.abs(np.delete(column, feeding)).max() > 0.05:
            raise GridMismatch(
                "the two grids are rotated against each other, so no axis maps onto another",
                found=target.describe(),
                expected=f"a grid along the axes of {source.describe()}",
            )
        maps.append(
            AxisMap(
                feeding,
                source.shape[feeding],
                target.shape[axis],
                round(float(to_source[feeding, 3]), _DECIMALS),
                round(float(to_source[feeding, axis]), _DECIMALS),
            )
        )
    if sorted(m.source_axis for m in maps) != [0, 1, 2]:
        raise GridMismatch("two axes of one grid lie along one axis of the other")
    return maps[0], maps[1], maps[2]
