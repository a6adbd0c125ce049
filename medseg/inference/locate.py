"""The box of a scan in which the labels may be, found coarsely before the fine model runs.

The scan is prepared whole, so that its intensities are what the fine model learnt. The box only
says over which working voxels windows are laid; the mask is still the whole scan's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from scipy import ndimage

from medseg.config import LocateModel, LocateThreshold
from medseg.geometry import AxisMap, Box, Geometry, grid_map, part_of
from medseg.inference.ensemble import HoldsModels, SegmentationModel
from medseg.volume import LabelMap, Volume
from medseg.volume.box import box_of_values

#: A threshold is looked for at points this far apart: bodies and heads are larger by far.
COARSE_MM = 4.0

#: Finds the box of scan voxels that holds what is looked for; ``None`` where nothing does.
Find = Callable[[Volume], Box | None]


class Found(Protocol):
    """What a coarse model gives; ``medseg.inference.Segmentation`` is one."""

    @property
    def labelmap(self) -> LabelMap:
        """The mask on the scan's grid."""


@dataclass(frozen=True)
class Search:
    """How to find a region, and how much around it to keep.

    Attributes:
        find: looks for it.
        margin_mm: kept on every side.
    """

    find: Find
    margin_mm: float


@dataclass(frozen=True, eq=False)
class Locator:
    """A coarse model that finds the region.

    Attributes:
        model: the coarse model.
        margin_mm: kept on every side of what it finds.
        labels: of it that count; empty means all.
    """

    model: SegmentationModel
    margin_mm: float
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Region:
    """The part of a scan that a model is asked about.

    Attributes:
        working_box: voxels of the working grid over which windows are laid.
        native_box: voxels of the scan's grid that are decided there; the rest is background.
        working: the grid of the first.
        native: the grid of the second.
    """

    working_box: Box
    native_box: Box
    working: Geometry
    native: Geometry


def search_for(
    model: SegmentationModel,
    locator: Locator | None,
    load: Callable[[SegmentationModel], Callable[[Volume], Found]],
) -> Search | None:
    """What finds the region for a model; ``None`` where the whole scan is looked at.

    Args:
        model: the fine model, whose card may say how; one in training, which has no folder for
            a locator yet, looks at whole scans.
        locator: in place of what the card says.
        load: makes a coarse model ready to segment.

    Raises:
        BadModel: the coarse model cannot be used.
        BadLabels: it has no label of a name that should count.
    """
    rule = model.infer.locate
    if locator is None and isinstance(rule, LocateThreshold):
        return Search(partial(largest_above, above=rule.above), rule.margin_mm)
    if locator is None and isinstance(rule, LocateModel) and isinstance(model, HoldsModels):
        locator = Locator(model.inner(rule.folder), rule.margin_mm, rule.labels)
    if locator is None:
        return None
    values = [locator.model.labels.value_of(name) for name in locator.labels]
    coarse = load(locator.model)
    return Search(
        lambda volume: box_of_values(coarse(volume).labelmap.data, values), locator.margin_mm
    )


def whole_region(working: Geometry, native: Geometry, kept: Box | None = None) -> Region:
    """All of a scan, or all of the box of it that the working grid covers."""
    box = kept or _all(native)
    return Region(_all(working), box, working, part_of(native, box))


def region_about(
    found: Box,
    margin_mm: float,
    working: Geometry,
    native: Geometry,
    window: Sequence[int],
    *,
    kept: Box | None = None,
) -> Region:
    """The region about a box of scan voxels.

    Args:
        found: half-open ranges of scan voxels.
        margin_mm: added on every side, as far as the scan goes.
        working: the whole working grid.
        native: the scan's own grid.
        window: voxels of a window along the working axes: the region is no smaller where the
            scan is not, so that windows see the scan and not a repeated border.
        kept: the box of scan voxels that the working grid covers; ``None`` is all of them.
    """
    kept = kept or _all(native)
    working_box, native_box = [slice(0, n) for n in working.shape], list(kept)
    for axis, mapping in enumerate(grid_map(working, part_of(native, kept))):
        fed, first = mapping.source_axis, kept[axis].start
        inside = slice(found[axis].start - first, found[axis].stop - first)
        side = _working_side(mapping, inside, margin_mm / native.spacing_mm[axis], window[fed])
        working_box[fed] = side
        own = _native_side(mapping, side)
        native_box[axis] = slice(own.start + first, own.stop + first)
    w, n = _box(working_box), _box(native_box)
    return Region(w, n, part_of(working, w), part_of(native, n))


def largest_above(volume: Volume, above: float) -> Box | None:
    """The box of the largest connected part above a real-world value in any channel.

    It is looked for at points about `COARSE_MM` apart, connected by their faces, and reaches up
    to the next points that do not belong to it. Points are counted from the scan's right
    posterior inferior corner, in whatever order the scan is stored.
    """
    grid = volume.geometry
    axes, backwards = grid.canonical_axes
    steps = [max(1, round(COARSE_MM / grid.spacing_mm[axis])) for axis in axes]
    turned = volume.data.transpose(0, *(axis + 1 for axis in axes))
    strides = [-step if back else step for step, back in zip(steps, backwards, strict=True)]
    points = turned[(slice(None), *(slice(None, None, stride) for stride in strides))]
    inside = (points * float(volume.slope) + volume.intercept > above).any(axis=0)
    parts, count = ndimage.label(inside)
    if not count:
        return None
    largest = int(np.bincount(parts.ravel())[1:].argmax())
    box = [slice(0, 0)] * 3
    found = ndimage.find_objects(parts)[largest]
    for axis, back, side, step in zip(axes, backwards, found, steps, strict=True):
        size = grid.shape[axis]
        start, stop = max(0, (side.start - 1) * step + 1), min(size, side.stop * step)
        box[axis] = slice(size - stop, size - start) if back else slice(start, stop)
    return _box(box)


def _working_side(mapping: AxisMap, found: slice, margin: float, window: int) -> slice:
    """Working voxels about a range of scan voxels, with a margin in scan voxels."""
    ends = np.array([found.start - margin, found.stop - 1 + margin])
    low, high = np.sort(mapping.start + mapping.step * ends)
    size = mapping.source_size
    start, stop = max(0, math.floor(low)), min(size, math.ceil(high) + 1)
    wanted = min(window, size)
    if stop - start < wanted:
        start = min(max(0, start - (wanted - stop + start) // 2), size - wanted)
        stop = start + wanted
    return slice(start, stop)


def _native_side(mapping: AxisMap, side: slice) -> slice:
    """The scan voxels between the working voxels of a range."""
    position = mapping.source_index().clip(0, mapping.source_size - 1)
    inside = np.flatnonzero((position >= side.start) & (position <= side.stop - 1))
    return slice(int(inside[0]), int(inside[-1]) + 1)


def _all(grid: Geometry) -> Box:
    return _box([slice(0, n) for n in grid.shape])


def _box(sides: Sequence[slice]) -> Box:
    return sides[0], sides[1], sides[2]
