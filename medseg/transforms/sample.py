"""Reads images and class indices of a batch at positions between voxels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

#: Below this share a voxel of the source has no say in what class a position has.
_NOTHING = 1e-6


def sample_image(image: Tensor, offsets: Sequence[Tensor]) -> Tensor:
    """Linear between voxels; beyond the source its border goes on.

    Args:
        image: (B, C, *source) float32.
        offsets: for each axis (B, *patch) voxels from the middle of the source.
    """
    halves = [max(n - 1, 1) / 2 for n in image.shape[2:]]
    grid = torch.stack(
        [offset / half for offset, half in zip(offsets[::-1], halves[::-1], strict=True)], -1
    )
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)


def sample_classes(classes: Tensor, offsets: Sequence[Tensor]) -> Tensor:
    """The class with the largest share of the voxels around each position, -1 beyond the source.

    The same as to interpolate each class by itself and to take the strongest, at a cost that does
    not grow with the number of classes.

    Args:
        classes: (B, *source) class indices, -1 where not scored.
        offsets: for each axis (B, *patch) voxels from the middle of the source.
    """
    corners = _Corners(classes, offsets)
    if classes.device.type != "cpu":
        return _strongest(corners.classes, corners.shares(None)).view_as(offsets[0])
    first = corners.classes[0]
    agreed = corners.inside
    for other in corners.classes[1:]:
        agreed = agreed & (other == first)
    divided = torch.nonzero(~agreed)[:, 0]  # few voxels lie at a border
    result = first.clone()
    around = [each[divided] for each in corners.classes]
    result[divided] = _strongest(around, corners.shares(divided))
    return result.view_as(offsets[0])


class _Corners:
    """The 4 or 8 voxels around each position, flat.

    Attributes:
        classes: of each corner, (positions,).
        inside: whether all corners of a position lie in the source.
    """

    def __init__(self, classes: Tensor, offsets: Sequence[Tensor]) -> None:
        shape = classes.shape[1:]
        step = 1
        places: list[tuple[Tensor, Tensor]] = []
        self._shares: list[tuple[Tensor, Tensor]] = []
        inside = None
        for size, offset in zip(shape[::-1], offsets[::-1], strict=True):
            position = offset + (size - 1) / 2
            below = position.floor()
            share, low = position - below, below.int()
            in_low, in_high = (low >= 0) & (low < size), (low >= -1) & (low < size - 1)
            both = in_low & (in_high | (share == 0))
            inside = both if inside is None else inside & both
            self._shares.append(((1 - share) * in_low, share * in_high))
            places.append((low.clamp(0, size - 1) * step, (low + 1).clamp(0, size - 1) * step))
            step *= size
        source = torch.arange(len(classes), dtype=torch.int32, device=classes.device) * step
        base = source.view(-1, *[1] * len(shape))
        flat = classes.reshape(-1)
        self.classes = [
            flat.index_select(0, torch.as_tensor(base + sum(corner)).flatten())
            for corner in itertools.product(*places)
        ]
        self.inside = torch.as_tensor(inside).flatten()

    def shares(self, chosen: Tensor | None) -> list[Tensor]:
        """What each corner contributes to the positions chosen, or to all."""
        axes = [
            tuple(end.flatten() if chosen is None else end.flatten()[chosen] for end in ends)
            for ends in self._shares
        ]
        products = []
        for corner in itertools.product(*axes):
            product = corner[0]
            for factor in corner[1:]:
                product = product * factor
            products.append(product)
        return products


def _strongest(classes: Sequence[Tensor], shares: Sequence[Tensor]) -> Tensor:
    """The class of the largest sum of shares; the smaller one where two are level."""
    labels, weights = torch.stack(list(classes)), torch.stack(list(shares))
    nothing = torch.zeros_like(weights[0])
    winner = torch.full_like(labels[0], -1)
    best = torch.where(labels == -1, weights, nothing).sum(0).clamp_(min=_NOTHING)
    for label in labels:
        share = torch.where(labels == label, weights, nothing).sum(0)
        better = (share > best) | ((share == best) & (label < winner))
        winner = torch.where(better, label, winner)
        best = torch.where(better, share, best)
    return winner
