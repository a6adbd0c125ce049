"""Native voxels between working voxels, axis by axis, with the weights of either side."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.errors import GridMismatch
from medseg.geometry import AxisMap, Geometry, grid_map

#: Cells (gaps between working voxels) along each side of a tile.
TILE = 16

#: A native voxel this near to a working voxel, in working voxels, lies on it.
ON_A_VOXEL = 1e-6

Box = tuple[slice, slice, slice]


class Layout:
    """How the voxels of a scan's own grid lie on its working grid.

    The native axes in working order and direction are called *turned*.
    """

    def __init__(self, working: Geometry, native: Geometry) -> None:
        """Map one grid onto the other.

        Raises:
            GridMismatch: the axes of the two grids are not parallel.
        """
        maps = grid_map(working, native)
        self._shape = native.shape
        self._fed = [next(n for n in range(3) if maps[n].source_axis == w) for w in range(3)]
        self._backwards = [maps[n].step < 0 for n in self._fed]
        self._axes = [_axis_cells(maps[n]) for n in self._fed]

    def turn(self, native: NDArray[Any]) -> NDArray[Any]:
        """The turned view of an (X, Y, Z) array on the native grid."""
        reverse = tuple(slice(None, None, -1 if back else 1) for back in self._backwards)
        return native.transpose(self._fed)[reverse]

    def turn_back(self, box: Sequence[slice], turned: NDArray[Any]) -> tuple[Box, NDArray[Any]]:
        """Where a turned box of (…, x, y, z) values lies on the native grid, and its view there."""
        sides: list[slice] = [slice(0)] * 3
        for side, axis, back in zip(box, self._fed, self._backwards, strict=True):
            n = self._shape[axis]
            sides[axis] = slice(n - side.stop, n - side.start) if back else side
        first = turned.ndim - 3
        flipped = tuple(first + w for w, back in enumerate(self._backwards) if back)
        order = [*range(first), *(first + self._fed.index(axis) for axis in range(3))]
        return (sides[0], sides[1], sides[2]), np.flip(turned, flipped).transpose(order)

    def sides(self, shape: Sequence[int], corner: Sequence[int]) -> tuple[Side, Side, Side] | None:
        """The extents of a box of working voxels; ``None`` where no native voxel lies in it.

        Raises:
            GridMismatch: the box does not fit into the working grid.
        """
        ends = [low + size for low, size in zip(corner, shape, strict=True)]
        if any(end > axis.size for end, axis in zip(ends, self._axes, strict=True)):
            raise GridMismatch(
                "a box of logits reaches beyond the working grid",
                found=ends,
                expected=[axis.size for axis in self._axes],
            )
        x, y, z = (
            axis.side(low, end) for axis, low, end in zip(self._axes, corner, ends, strict=True)
        )
        if any(side.native.stop <= side.native.start for side in (x, y, z)):
            return None
        return x, y, z


def tiles(sides: Sequence[Side]) -> Iterator[Tile]:
    """Every tile of a box."""
    return (Tile(*strips) for strips in itertools.product(*(side.strips for side in sides)))


@dataclass(frozen=True, eq=False)
class Strip:
    """One tile's extent along one axis, within a box."""

    span: tuple[int, int]  # first working voxel in the box, number of them
    native: slice  # native voxels, counted from the box's first
    matrix: torch.Tensor  # (native voxels, working voxels) weights


@dataclass(frozen=True, eq=False)
class Side:
    """A box's extent along one axis."""

    native: slice
    nearest: torch.Tensor  # the working voxel, within the box, at or below each native voxel
    strips: tuple[Strip, ...]
    invents: bool  # whether any native voxel lies between working voxels


@dataclass(frozen=True, eq=False)
class _Cells:
    """Where the native voxels of one axis, in working order, lie between working voxels."""

    size: int
    cell: NDArray[np.int64]
    fraction: NDArray[np.float64]

    def side(self, low: int, end: int) -> Side:
        """What the working voxels `low` to `end` decide."""
        stop = end if self.size == 1 else end - 1
        native = self._native(low, stop)
        cell, fraction = self.cell[native], self.fraction[native]
        nearest = torch.from_numpy(cell - low + (fraction == 1))
        strips = tuple(
            self._strip(start, min(start + TILE, stop), low, native.start)
            for start in range(low, stop, TILE)
        )
        invents = bool(((fraction > 0) & (fraction < 1)).any())
        return Side(native, nearest, strips, invents)

    def _native(self, first: int, stop: int) -> slice:
        """The native voxels in the cells `first` to `stop`."""
        start, end = np.searchsorted(self.cell, [first, stop])
        return slice(int(start), int(end))

    def _strip(self, first: int, stop: int, low: int, origin: int) -> Strip:
        native = self._native(first, stop)
        voxels = min(stop + 1, self.size) - first
        matrix = np.zeros((native.stop - native.start, voxels))
        rows, cell = np.arange(len(matrix)), self.cell[native] - first
        matrix[rows, cell] = 1 - self.fraction[native]
        if voxels > 1:
            matrix[rows, cell + 1] += self.fraction[native]
        counted = slice(native.start - origin, native.stop - origin)
        return Strip((first - low, voxels), counted, torch.from_numpy(matrix))


def _axis_cells(axis: AxisMap) -> _Cells:
    position = axis.ascending().source_index().clip(0, axis.source_size - 1)
    whole = np.rint(position)
    position = np.where(np.abs(position - whole) < ON_A_VOXEL, whole, position)
    cell = np.floor(position).astype(np.int64).clip(0, max(0, axis.source_size - 2))
    return _Cells(axis.source_size, cell, position - cell)


class Tile:
    """A box of cells of which some native voxels must be interpolated."""

    def __init__(self, x: Strip, y: Strip, z: Strip) -> None:
        self._strips = (x, y, z)
        self.working = tuple(slice(s.span[0], s.span[0] + s.span[1]) for s in self._strips)
        self.native = tuple(s.native for s in self._strips)

    def interpolate(self, logits: torch.Tensor) -> torch.Tensor:
        """(K, x, y, z) working logits to (K, x', y', z') at the native voxels."""
        x, y, z = (strip.matrix.to(logits) for strip in self._strips)
        rows = y @ (logits @ z.T)
        planes: torch.Tensor = (x @ rows.flatten(2)).unflatten(2, rows.shape[2:])
        return planes
