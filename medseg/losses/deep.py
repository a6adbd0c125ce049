"""The loss at several levels of a network, the truth thinned to each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def deep_loss(
    loss: nn.Module,
    logits: Sequence[Tensor],
    classes: Tensor,
    known: Tensor | None = None,
    *,
    strides: Sequence[Sequence[int]] | None = None,
) -> Tensor:
    """Deep supervision: the loss at each level, weights halving, truth thinned to its cells.

    Lee et al. 2015 (doi:10.48550/arXiv.1409.5185); weights as in doi:10.1038/s41592-020-01008-z.
    Departure: the truth of a cell is that of its middle voxel, so that patches whose size is no
    multiple of the strides are not stretched. Coarse voxel j is the cell of the fine voxels
    s*j to s*j + s - 1; the last cell of an axis may be a part.

    Args:
        loss: of logits, classes and known.
        logits: (B, K, *spatial) of each level, finest first.
        classes: (B, *spatial) class indices of the finest level, -1 where not scored.
        known: (B, classes) whether a truth was drawn for the class.
        strides: fine voxels a cell of each level, along each axis; ``None`` takes likely ones
            that give the levels' sizes.
    """
    shapes = [tuple(level.shape[2:]) for level in logits]
    cells = strides or _likely_strides(tuple(classes.shape[1:]), shapes)
    weights = [0.5**depth for depth in range(len(logits))]
    total = logits[0].new_zeros(())
    for weight, level, stride in zip(weights, logits, cells, strict=True):
        target = thinned(classes, stride)
        total = total + weight / sum(weights) * loss(level, target, known)
    return total


def thinned(classes: Tensor, stride: Sequence[int]) -> Tensor:
    """The middle voxel of each cell of `stride` voxels; (B, *spatial) to (B, *cells).

    >>> thinned(torch.tensor([[0, 1, 2, 3, 4]]), [2])  # the last cell is a part
    tensor([[1, 3, 4]])
    """
    for axis, step in enumerate(stride, start=1):
        if step > 1:
            size = classes.shape[axis]
            starts = torch.arange(0, size, step, device=classes.device)
            middles = starts + (size - starts).clamp(max=step) // 2
            classes = classes.index_select(axis, middles)
    return classes


def _likely_strides(
    size: tuple[int, ...], shapes: Sequence[tuple[int, ...]]
) -> list[tuple[int, ...]]:
    """Voxels a cell of each level, each level made from the one before it.

    One step for all axes that shrink, if one fits them; a power of two rather than another.

    >>> _likely_strides((9, 10), [(9, 10), (3, 4)]), _likely_strides((9, 9), [(3, 9)])
    ([(1, 1), (3, 3)], [(4, 1)])
    """
    strides = []
    total, before = (1,) * len(size), size
    for shape in shapes:
        fitting = [_steps(n, m) for n, m in zip(before, shape, strict=True)]
        shrinking = [set(steps) for steps in fitting if 1 not in steps]
        common = set.intersection(*shrinking) if shrinking else set()
        steps = [
            1 if 1 in own else min(common or own, key=lambda s: (s & (s - 1) > 0, s))
            for own in fitting
        ]
        total = tuple(a * b for a, b in zip(total, steps, strict=True))
        strides.append(total)
        before = shape
    return strides


def _steps(voxels: int, cells: int) -> list[int]:
    """Steps that divide so many voxels into so many cells; else the least that gives no more."""
    exact = [step for step in range(1, voxels + 1) if -(-voxels // step) == cells]
    return exact or [next(s for s in range(1, voxels + 1) if -(-voxels // s) <= cells)]
