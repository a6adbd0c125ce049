"""Native voxels between working voxels, axis by axis, with the weights of either side."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.errors import GridMismatch
from medseg.geometry import AxisMap, Box, Geometry, grid_map, nearest_voxel

#: Cells (gaps between working voxels) along each side of a tile, on a CPU.
TILE = 16

#: A GPU wants tiles that are so large, as far as their logits on both grids fit into these bytes.
LARGEST_TILE, TILE_BYTES = 64, 1 << 28

#: A native voxel this near to a working voxel, in working voxels, lies on it.
ON_A_VOXEL = 1e-6


def tile_for(device: torch.device, channels: int, native_per_working: float) -> int:
    """Cells along each side of a tile: few on a CPU, whose caches are small; many on a GPU.

    Args:
        device: where tiles are interpolated.
        channels: of the logits.
        native_per_working: native voxels per working voxel.

    >>> tile_for(torch.device("cpu"), 25, 7.0), tile_for(torch.device("cuda"), 25, 7.0)
    (16, 56)
    """
    if device.type == "cpu":
        return TILE
    tile = LARGEST_TILE
    while tile > TILE and tile_bytes(tile, channels, native_per_working, 4) > TILE_BYTES:
        tile -= 8
    return tile


def tile_bytes(tile: int, channels: int, native_per_working: float, itemsize: int) -> int:
    """Logits of one tile on the native grid, and of it half interpolated."""
    return int((tile + 1) ** 3 * max(1.0, native_per_working) * channels * itemsize * 2)


class Layout:
    """How the voxels of a scan's own grid lie on its working grid.

    The native axes in working order and direction are called *turned*.
    """

    def __init__(
        self,
        working: Geometry,
        native: Geometry,
        tile: int = TILE,
        *,
        nearest_axes: Collection[int] = (),
    ) -> None:
        """Map one grid onto the other.

        Args:
            working: the grid of the logits.
            native: the scan's own grid.
            tile: cells along each side of a tile.
            nearest_axes: the working axes along which native voxels take the nearest working
                voxel, while everything else is interpolated.

        Raises:
            GridMismatch: the axes of the two grids are not parallel.
        """
        maps = grid_map(working, native)
        self._shape = native.shape
        self._fed = [next(n for n in range(3) if maps[n].source_axis == w) for w in range(3)]
        self._backwards = [maps[n].step < 0 for n in self._fed]
        self._axes = [
            _axis_cells(maps[n], tile, nearest=working_axis in nearest_axes)
            for working_axis, n in enumerate(self._fed)
        ]
        self._near: dict[tuple[object, ...], Side] = {}

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

    def sides(self, logits: torch.Tensor, corner: Sequence[int]) -> tuple[Side, Side, Side] | None:
        """The extents of a box of working voxels; ``None`` where no native voxel lies in it.

        Args:
            logits: (K, x, y, z) of the box; what is needed to interpolate them is of their
                number type and on their device.
            corner: working index of the box's first voxel.

        Raises:
            GridMismatch: the box does not fit into the working grid.
        """
        ends = [low + size for low, size in zip(corner, logits.shape[1:], strict=True)]
        if any(end > axis.size for end, axis in zip(ends, self._axes, strict=True)):
            raise GridMismatch(
                "a box of logits reaches beyond the working grid",
                found=ends,
                expected=[axis.size for axis in self._axes],
            )
        x, y, z = (
            self._side(axis, low, end, logits)
            for axis, (low, end) in enumerate(zip(corner, ends, strict=True))
        )
        if any(side.native.stop <= side.native.start for side in (x, y, z)):
            return None
        return x, y, z

    def _side(self, axis: int, low: int, end: int, logits: torch.Tensor) -> Side:
        """One extent; boxes in a row share it, and a GPU is sent it once."""
        key = (axis, low, end, logits.device, logits.dtype)
        if key not in self._near:
            self._near[key] = self._axes[axis].side(low, end).near(logits)
        return self._near[key]


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

    def near(self, logits: torch.Tensor) -> Side:
        """The same in the number type and on the device of logits."""
        strips = tuple(replace(s, matrix=s.matrix.to(logits)) for s in self.strips)
        return replace(self, nearest=self.nearest.to(logits.device), strips=strips)


@dataclass(frozen=True, eq=False)
class _Cells:
    """Where the native voxels of one axis, in working order, lie between working voxels."""

    size: int
    tile: int
    cell: NDArray[np.int64]
    fraction: NDArray[np.float64]

    def side(self, low: int, end: int) -> Side:
        """What the working voxels `low` to `end` decide."""
        stop = end if self.size == 1 else end - 1
        native = self._native(low, stop)
        cell, fraction = self.cell[native], self.fraction[native]
        nearest = torch.from_numpy(cell - low + (fraction == 1))
        strips = tuple(
            self._strip(start, min(start + self.tile, stop), low, native.start)
            for start in range(low, stop, self.tile)
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


def _axis_cells(axis: AxisMap, tile: int, *, nearest: bool) -> _Cells:
    position = axis.ascending().source_index().clip(0, axis.source_size - 1)
    if nearest:
        position = nearest_voxel(position)
    whole = np.rint(position)
    position = np.where(np.abs(position - whole) < ON_A_VOXEL, whole, position)
    cell = np.floor(position).astype(np.int64).clip(0, max(0, axis.source_size - 2))
    return _Cells(axis.source_size, tile, cell, position - cell)


class Tile:
    """A box of cells of which some native voxels must be interpolated."""

    def __init__(self, x: Strip, y: Strip, z: Strip) -> None:
        self._strips = (x, y, z)
        self.working = tuple(slice(s.span[0], s.span[0] + s.span[1]) for s in self._strips)
        self.native = tuple(s.native for s in self._strips)

    def interpolate(self, logits: torch.Tensor) -> torch.Tensor:
        """(K, x, y, z) working logits to (K, x', y', z') at the native voxels."""
        x, y, z = (strip.matrix for strip in self._strips)
        rows = y @ (logits @ z.T)
        planes: torch.Tensor = (x @ rows.flatten(2)).unflatten(2, rows.shape[2:])
        return planes
