"""The order, signs and content of a scan's axes, as functions that TorchScript compiles."""

import torch
from torch import Tensor


def through_plane(
    size: list[int], spacing: list[float], stack_spacing: float, stack_shape: float
) -> int:
    """The axis across which a stack's slices lie; -1 for a volume."""
    single: list[int] = []
    for axis in range(3):
        if size[axis] == 1:
            single.append(axis)
    if len(single) > 0:
        return single[0] if len(single) == 1 else -1
    apart, coarsest = torch.sort(torch.tensor(spacing, dtype=torch.float64), descending=True)
    if float(apart[0]) >= stack_spacing * float(apart[1]):
        return int(coarsest[0])
    voxels, shortest = torch.sort(torch.tensor(size))
    if int(voxels[1]) >= stack_shape * int(voxels[0]):
        return int(shortest[0])
    return -1


def nearest(
    directions: Tensor, frames: Tensor, turn: Tensor, last: int
) -> tuple[list[int], list[bool]]:
    """Order and signs of axes that come nearest to one of several frames."""
    best = -1e9
    order, backwards = [0, 1, 2], [False, False, False]
    choices = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    for number in range(frames.shape[0]):
        along = frames[number] @ turn @ directions
        for axes in choices:
            nearness = 0.0
            for to in range(3):
                nearness += abs(float(along[to, axes[to]]))
            if nearness > best + 1e-9 and (last < 0 or axes[2] == last):
                best, order = nearness, axes
                backwards = [bool(along[to, axes[to]] < 0) for to in range(3)]
    return order, backwards


def content(scan: Tensor) -> list[list[int]]:
    """First voxel and length, along each axis, of what is not 0 in every channel; all if all is."""
    inside = (scan != 0).any(0)
    box: list[list[int]] = []
    for axis in range(3):
        along = inside.movedim(axis, 0).flatten(1).any(1).nonzero().flatten()
        first, length = 0, scan.shape[axis + 1]
        if along.numel() > 0:
            first = int(along[0])
            length = int(along[-1]) + 1 - first
        box.append([first, length])
    return box
