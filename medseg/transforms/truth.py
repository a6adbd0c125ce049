"""Resample labels onto another grid so that every structure keeps its volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from medseg.geometry import Box, Geometry, grid_map
from medseg.transforms.kernels import AxisWeights, axis_weights
from medseg.transforms.resample import BLOCK_VOXELS, apply_weights, shrinking_first, turn_to

#: A target axis this much coarser than the source, as a share, makes parts lose volume.
COARSER = 0.05

#: Scores of two classes closer than this are a tie: float32 rounding must not decide.
TIE = 1e-6


def resample_labels(
    labels: NDArray[Any], source: Geometry, target: Geometry, values: Sequence[int]
) -> NDArray[Any]:
    """(X, Y, Z) integers on one grid to integers on another; each class is interpolated.

    The strongest class wins a voxel, in a tie the lower value, a negative one last. Classes come
    one at a time and only where they lie, so that their number costs no memory. Voxels whose value
    is not among `values` win nothing; where nothing wins stands 0.

    A majority takes from everything convex: on a coarser grid a small ball loses half of itself
    or all. So each connected part of a class that lost voxels gets back those of which it holds
    the largest shares, until its volume is what it was. Lines drawn among ignored voxels, whose
    value is negative, would vanish likewise, those of the background too, so as much of the
    truth stays known as was.

    Raises:
        GridMismatch: the axes of the two grids are not parallel.
    """
    axes = grid_map(source, target)
    plans = [axis_weights(axis.forwards(), "linear") for axis in axes]
    turned = np.asarray(turn_to(labels[None], axes))[0]
    if all(plan.is_copy for plan in plans):
        copied = turned[np.ix_(*(plan.index[:, 0] for plan in plans))]
        return np.where(np.isin(copied, list(values)), copied, 0).astype(labels.dtype)
    best = np.full(target.shape, TIE, dtype=np.float32)
    winner = np.zeros(target.shape, dtype=labels.dtype)
    boxes = ndimage.find_objects(turned) if turned.max(initial=0) > 0 else []
    whole = tuple(slice(0, size) for size in turned.shape)
    in_turn = sorted({int(value) for value in values}, key=lambda value: (value < 0, value))
    drawn = None
    for value in in_turn:
        if value < 0 and drawn is None:
            drawn = best.copy(), winner.copy()
        box = (boxes[value - 1] if value <= len(boxes) else None) if value > 0 else whole
        if box is not None:
            _compete(turned, value, (box[0], box[1], box[2]), plans, best, winner)
    if any(abs(axis.step) > 1 + COARSER for axis in axes):
        scale = math.prod(abs(axis.step) for axis in axes)
        if drawn is not None:
            _reveal(*drawn, round(int((turned >= 0).sum()) / scale), winner)
        named = [(value, boxes[value - 1]) for value in values if 0 < value <= len(boxes)]
        found = [(value, box) for value, box in named if box]
        _repay(turned, found, plans, scale, winner)
    return winner


def _reveal(
    shares: NDArray[np.float32], classes: NDArray[Any], due: int, winner: NDArray[Any]
) -> None:
    """Let drawn classes win ignored voxels where their shares are largest, in place.

    Args:
        shares: (X', Y', Z') of the strongest drawn class.
        classes: which that is.
        due: voxels that should be known.
        winner: (X', Y', Z') what the majority says; changed.
    """
    lacking = due - int((winner >= 0).sum())
    if lacking <= 0:
        return
    candidates = np.flatnonzero((winner < 0) & (shares > TIE))
    best = np.argsort(-shares.ravel()[candidates], kind="stable")[:lacking]
    winner.ravel()[candidates[best]] = classes.ravel()[candidates[best]]


def _repay(
    labels: NDArray[Any],
    boxes: Sequence[tuple[int, Sequence[slice]]],
    plans: Sequence[AxisWeights],
    scale: float,
    winner: NDArray[Any],
) -> None:
    """Give back to each connected part of each class the volume that it lost, in place.

    Small parts come last, so that they have the last word about a voxel. A part below half a
    target voxel is left as it is, unless it is all there is of its class.

    Args:
        labels: (X, Y, Z) source, in the order of the target's axes.
        boxes: value and box of each class.
        plans: weights of each axis.
        scale: source voxels in a target voxel.
        winner: (X', Y', Z') what the majority says; changed.
    """
    parts: list[tuple[int, int, Box, NDArray[np.bool_]]] = []
    for value, sides in boxes:
        inside, count = ndimage.label(labels[tuple(sides)] == value, np.ones((3, 3, 3)))
        for number, box in enumerate(ndimage.find_objects(inside), start=1):
            part = inside[box] == number
            start = [side.start for side in sides]
            x, y, z = (
                slice(first + side.start, first + side.stop)
                for first, side in zip(start, box, strict=True)
            )
            size = int(part.sum())
            if count == 1 or round(size / scale) > 0:
                parts.append((size, value, (x, y, z), part))
    for size, value, box, part in sorted(parts, key=lambda entry: (-entry[0], entry[1])):
        _repay_part(part, value, box, max(1, round(size / scale)), plans, winner)


def _repay_part(
    part: NDArray[np.bool_],
    value: int,
    box: Box,
    due: int,
    plans: Sequence[AxisWeights],
    winner: NDArray[Any],
) -> None:
    """Add to one connected part the target voxels of which it holds most, up to its due."""
    reached = [_reached(plan, side) for plan, side in zip(plans, box, strict=True)]
    if any(side.stop <= side.start for side in reached):
        return
    target = (reached[0], reached[1], reached[2])
    spans = [plan.span(side) for plan, side in zip(plans, target, strict=True)]
    block = np.zeros([span.stop - span.start for span in spans], dtype=np.float32)
    inner = [
        slice(max(side.start, span.start), min(side.stop, span.stop))
        for side, span in zip(box, spans, strict=True)
    ]
    into = tuple(
        slice(i.start - s.start, i.stop - s.start) for i, s in zip(inner, spans, strict=True)
    )
    source = tuple(
        slice(i.start - b.start, i.stop - b.start) for i, b in zip(inner, box, strict=True)
    )
    block[into] = part[source]
    share = torch.from_numpy(block)
    for axis in shrinking_first(plans, spans, target):
        share = apply_weights(share, plans[axis], target[axis], axis)
    shares, there = share.numpy(), winner[target]
    lacking = due - int(((there == value) & (shares > TIE)).sum())
    if lacking <= 0:
        return
    candidates = np.flatnonzero(((there != value) & (shares > TIE)).ravel())
    best = np.argsort(-shares.ravel()[candidates], kind="stable")[:lacking]
    changed = np.unravel_index(candidates[best], there.shape)
    there[changed] = value


def _compete(
    labels: NDArray[Any],
    value: int,
    box: Box,
    plans: Sequence[AxisWeights],
    best: NDArray[np.float32],
    winner: NDArray[Any],
) -> None:
    """Let one class, which lies within `box` of the source, win target voxels, in place."""
    reached = [_reached(plan, side) for plan, side in zip(plans, box, strict=True)]
    if any(part.stop <= part.start for part in reached):
        return
    thickness = max(1, BLOCK_VOXELS // max(1, best[0].size))
    for start in range(reached[0].start, reached[0].stop, thickness):
        parts = (slice(start, min(start + thickness, reached[0].stop)), reached[1], reached[2])
        spans = [plan.span(part) for plan, part in zip(plans, parts, strict=True)]
        block = torch.from_numpy((labels[tuple(spans)] == value).astype(np.float32))
        for axis in shrinking_first(plans, spans, parts):
            block = apply_weights(block, plans[axis], parts[axis], axis)
        score = block.numpy()
        better = score > best[parts] + TIE
        best[parts][better] = score[better]
        winner[parts][better] = value


def _reached(plan: AxisWeights, side: slice) -> slice:
    """The target voxels that see any source voxel of `side`."""
    inside = (plan.index >= side.start) & (plan.index < side.stop) & (plan.weight > 0)
    seen = np.flatnonzero(inside.any(axis=1))
    return slice(int(seen[0]), int(seen[-1]) + 1) if len(seen) else slice(0, 0)
