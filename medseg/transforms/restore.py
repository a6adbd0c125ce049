"""How do logits on the working grid become a mask on the scan's own grid, a box at a time?

Linear interpolation between working voxels is a mean with weights that add up to 1. So where
all corners of a cell agree on the strongest class, so does everything between them, and only
tiles in which the decision changes are interpolated, with only the classes that can win there.
The mask is the same as that of all classes interpolated over the whole scan, without ever
holding classes x native voxels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.errors import GridMismatch
from medseg.geometry import AxisMap, Geometry, grid_map
from medseg.labels import LabelTable

#: Cells (gaps between working voxels) along each side of a tile.
TILE = 16

#: A native voxel this near to a working voxel, in working voxels, lies on it.
ON_A_VOXEL = 1e-6

#: (K, X, Y, Z) logits to (X, Y, Z) positions in `LabelTable.channel_values`.
Decide = Callable[[torch.Tensor], torch.Tensor]

#: Told of (K, X, Y, Z) working logits in which the (X, Y, Z) decision changes.
Observer = Callable[[torch.Tensor, torch.Tensor], None]


def strongest(logits: torch.Tensor) -> torch.Tensor:
    """The channel with the largest logit; in a tie the first."""
    return logits.max(0).indices


def painted(logits: torch.Tensor) -> torch.Tensor:
    """1 + the last region whose probability is above 0.5, or 0 where there is none."""
    decision = torch.zeros(logits.shape[1:], dtype=torch.int64, device=logits.device)
    for region, logit in enumerate(logits):
        decision.masked_fill_(logit > 0, region + 1)
    return decision


class Restorer:
    """A mask on the native grid that grows box by box of working logits.

    Attributes:
        mask: (X, Y, Z) integers on the native grid; 0 where no box was put yet.
    """

    def __init__(
        self,
        working: Geometry,
        native: Geometry,
        labels: LabelTable,
        *,
        observe: Observer | None = None,
    ) -> None:
        """Prepare an empty mask.

        Raises:
            GridMismatch: the axes of the two grids are not parallel.
        """
        self.mask: NDArray[Any] = np.zeros(native.shape, dtype=labels.dtype)
        self._regions = bool(labels.regions)
        self._values = np.array(labels.channel_values, dtype=labels.dtype)
        self._small = torch.uint8 if len(self._values) <= 256 else torch.int32
        self._observe = observe
        maps = grid_map(working, native)
        fed = [next(n for n in range(3) if maps[n].source_axis == w) for w in range(3)]
        reverse = [slice(None, None, -1 if maps[n].step < 0 else 1) for n in fed]
        self._turned = self.mask.transpose(fed)[tuple(reverse)]
        self._axes = [_axis_cells(maps[n]) for n in fed]

    def put(self, logits: torch.Tensor, corner: Sequence[int]) -> None:
        """Decide the native voxels in the cells of a box of working voxels.

        Boxes that share a layer of voxels fill the scan without gaps: a cell lies between two
        working voxels along each axis, and belongs to the box that holds both.

        Args:
            logits: (K, x, y, z) normalised logits.
            corner: working index of the box's first voxel.

        Raises:
            GridMismatch: the box does not fit into the working grid.
        """
        shape = logits.shape[1:]
        ends = [low + size for low, size in zip(corner, shape, strict=True)]
        if any(end > axis.size for end, axis in zip(ends, self._axes, strict=True)):
            raise GridMismatch(
                "a box of logits reaches beyond the working grid",
                found=ends,
                expected=[axis.size for axis in self._axes],
            )
        sides = [
            axis.side(low, end) for axis, low, end in zip(self._axes, corner, ends, strict=True)
        ]
        if any(side.native.stop <= side.native.start for side in sides):
            return
        decide = painted if self._regions else strongest
        decision = decide(logits).to(self._small)
        region = decision
        for axis, side in enumerate(sides):
            region = region.index_select(axis, side.nearest.to(decision.device))
        invents = any(side.invents for side in sides)
        for tile in self._mixed(decision, sides) if invents or self._observe else ():
            if self._observe is not None:
                self._observe(logits[(slice(None), *tile.working)], decision[tile.working])
            if invents:
                self._interpolate(logits, region, tile)
        self._turned[tuple(side.native for side in sides)] = self._values[region.cpu().numpy()]

    def _mixed(self, decision: torch.Tensor, sides: Sequence[_Side]) -> list[_Tile]:
        """The tiles in which the decision changes."""
        low = high = decision
        for axis, side in enumerate(sides):
            spans = [strip.span for strip in side.strips]
            low = torch.stack([low.narrow(axis, *span).amin(axis) for span in spans], axis)
            high = torch.stack([high.narrow(axis, *span).amax(axis) for span in spans], axis)
        where = (low != high).nonzero().tolist()
        return [
            _Tile(*(side.strips[n] for side, n in zip(sides, index, strict=True)))
            for index in where
        ]

    def _interpolate(self, logits: torch.Tensor, region: torch.Tensor, tile: _Tile) -> None:
        """Decide the native voxels of one tile from interpolated logits, into `region`."""
        part, target = logits[(slice(None), *tile.working)], region[tile.native]
        if target.numel() == 0:
            return
        if self._regions:
            target.copy_(painted(tile.interpolate(part)))
            return
        flat = part.flatten(1)
        able = (flat.amax(1) >= flat.amin(1).max()).nonzero()[:, 0]
        target.copy_(able[strongest(tile.interpolate(part[able]))])


def restore(
    logits: torch.Tensor, working: Geometry, native: Geometry, labels: LabelTable
) -> NDArray[Any]:
    """(K, X, Y, Z) logits on a whole working grid to the (X, Y, Z) mask on the native grid.

    Raises:
        GridMismatch: the logits do not fit the working grid, or the grids are not parallel.
    """
    if tuple(logits.shape[1:]) != working.shape:
        raise GridMismatch(
            "the logits do not fit their grid",
            found=tuple(logits.shape[1:]),
            expected=working.shape,
        )
    restorer = Restorer(working, native, labels)
    restorer.put(logits, (0, 0, 0))
    return restorer.mask


@dataclass(frozen=True, eq=False)
class _Strip:
    """One tile's extent along one axis, within a box."""

    span: tuple[int, int]  # first working voxel in the box, number of them
    native: slice  # native voxels, counted from the box's first
    matrix: torch.Tensor  # (native voxels, working voxels) weights


@dataclass(frozen=True, eq=False)
class _Side:
    """A box's extent along one axis."""

    native: slice
    nearest: torch.Tensor  # the working voxel, within the box, at or below each native voxel
    strips: tuple[_Strip, ...]
    invents: bool  # whether any native voxel lies between working voxels


@dataclass(frozen=True, eq=False)
class _Cells:
    """Where the native voxels of one axis, in working order, lie between working voxels."""

    size: int
    cell: NDArray[np.int64]
    fraction: NDArray[np.float64]

    def side(self, low: int, end: int) -> _Side:
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
        return _Side(native, nearest, strips, invents)

    def _native(self, first: int, stop: int) -> slice:
        """The native voxels in the cells `first` to `stop`."""
        start, end = np.searchsorted(self.cell, [first, stop])
        return slice(int(start), int(end))

    def _strip(self, first: int, stop: int, low: int, origin: int) -> _Strip:
        native = self._native(first, stop)
        voxels = min(stop + 1, self.size) - first
        matrix = np.zeros((native.stop - native.start, voxels))
        rows, cell = np.arange(len(matrix)), self.cell[native] - first
        matrix[rows, cell] = 1 - self.fraction[native]
        if voxels > 1:
            matrix[rows, cell + 1] += self.fraction[native]
        counted = slice(native.start - origin, native.stop - origin)
        return _Strip((first - low, voxels), counted, torch.from_numpy(matrix))


def _axis_cells(axis: AxisMap) -> _Cells:
    position = np.sort(axis.source_index()).clip(0, axis.source_size - 1)
    whole = np.rint(position)
    position = np.where(np.abs(position - whole) < ON_A_VOXEL, whole, position)
    cell = np.floor(position).astype(np.int64).clip(0, max(0, axis.source_size - 2))
    return _Cells(axis.source_size, cell, position - cell)


class _Tile:
    """A box of cells of which some native voxels must be interpolated."""

    def __init__(self, x: _Strip, y: _Strip, z: _Strip) -> None:
        self._strips = (x, y, z)
        self.working = tuple(slice(s.span[0], s.span[0] + s.span[1]) for s in self._strips)
        self.native = tuple(s.native for s in self._strips)

    def interpolate(self, logits: torch.Tensor) -> torch.Tensor:
        """(K, x, y, z) working logits to (K, x', y', z') at the native voxels."""
        x, y, z = (strip.matrix.to(logits) for strip in self._strips)
        rows = y @ (logits @ z.T)
        planes: torch.Tensor = (x @ rows.flatten(2)).unflatten(2, rows.shape[2:])
        return planes
