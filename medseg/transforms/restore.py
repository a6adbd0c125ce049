"""Brings logits from the working grid to a mask on the scan's own grid, a box at a time.

Linear interpolation between working voxels is a mean with weights that add up to 1. So where
all corners of a cell agree on the strongest class, so does everything between them, and only
tiles in which the decision changes are interpolated, with only the classes that can win there.
The mask is the same as that of all classes interpolated over the whole scan, without ever
holding classes x native voxels.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.errors import GridMismatch
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.transforms.canvas import Canvas, DeviceCanvas, HostCanvas
from medseg.transforms.cells import Layout, Side, Tile, tile_for

_CPU = torch.device("cpu")

#: Told of (K, X, Y, Z) working logits and their (X, Y, Z) decision.
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
        mask: (X, Y, Z) integers on the native grid, once `finish` was called; 0 where no box
            was put.
    """

    def __init__(
        self,
        working: Geometry,
        native: Geometry,
        labels: LabelTable,
        *,
        observe: Observer | None = None,
        mask: NDArray[Any] | None = None,
        device: torch.device = _CPU,
        nearest_axes: Collection[int] = (),
    ) -> None:
        """Prepare an empty mask.

        Args:
            working: the grid of the logits.
            native: the grid of the mask.
            labels: what the channels mean.
            observe: called with every box of working logits and its decision.
            mask: where to write, such as a part of a larger mask; a new one where there is none.
            device: where logits come from; on a GPU the mask grows there until `finish`.
            nearest_axes: working axes along which native voxels take the nearest logits.

        Raises:
            GridMismatch: the axes of the two grids are not parallel, or `mask` is of another
                shape than `native`.
        """
        if mask is not None and mask.shape != native.shape:
            raise GridMismatch(
                "the mask is not of its grid", found=mask.shape, expected=native.shape
            )
        self.mask: NDArray[Any] = (
            np.zeros(native.shape, dtype=labels.dtype) if mask is None else mask
        )
        self._regions = bool(labels.regions)
        channels = len(labels.channel_values)
        self._small = torch.uint8 if channels <= 256 else torch.int32
        self._observe = observe
        tile = tile_for(device, channels, native.voxels / working.voxels)
        self._layout = Layout(working, native, tile, nearest_axes=nearest_axes)
        canvas = HostCanvas if device.type == "cpu" else DeviceCanvas
        values = np.array(labels.channel_values, dtype=labels.dtype)
        self._canvas: Canvas = canvas(self._layout.turn(self.mask), values, device)

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
        sides = self._layout.sides(logits, corner)
        if sides is None:
            return
        decide = painted if self._regions else strongest
        decision = decide(logits).to(self._small)
        region = decision
        for axis, side in enumerate(sides):
            region = region.index_select(axis, side.nearest)
        if self._observe is not None:
            self._observe(logits, decision)
        if any(side.invents for side in sides):
            for tile in self._mixed(decision, sides):
                self._interpolate(logits, region, tile)
        self._canvas.paint((sides[0].native, sides[1].native, sides[2].native), region)

    def finish(self) -> NDArray[Any]:
        """The mask, once every box was put."""
        self._canvas.finish()
        return self.mask

    def _mixed(self, decision: torch.Tensor, sides: Sequence[Side]) -> list[Tile]:
        """The tiles in which the decision changes."""
        low = high = decision
        for axis, side in enumerate(sides):
            spans = [strip.span for strip in side.strips]
            low = torch.stack([low.narrow(axis, *span).amin(axis) for span in spans], axis)
            high = torch.stack([high.narrow(axis, *span).amax(axis) for span in spans], axis)
        where = (low != high).nonzero().tolist()
        return [
            Tile(*(side.strips[n] for side, n in zip(sides, index, strict=True))) for index in where
        ]

    def _interpolate(self, logits: torch.Tensor, region: torch.Tensor, tile: Tile) -> None:
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
    return restorer.finish()
