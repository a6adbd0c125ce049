"""Linear resampling along one axis as a matrix, as functions that TorchScript compiles."""

import math

import torch
from torch import Tensor


def shrinking(native: int, size: int, step: float) -> Tensor:
    """(size, native) weights of linear interpolation, widened where the axis shrinks."""
    start = (native - 1) / 2 - step * (size - 1) / 2
    position = start + step * torch.arange(size, dtype=torch.float64)
    width = math.sqrt(max(0.0, step * step - 1))
    reach = 1 + width / 2
    taps = math.ceil(2 * reach) + 1
    index = (position - reach).floor()[:, None] + torch.arange(taps, dtype=torch.float64)
    offset = index - position[:, None]
    if width < 1e-3:
        weight = (1 - offset.abs()).clamp_min(0)
    else:
        high = (offset + width / 2).clamp(-1, 1)
        low = (offset - width / 2).clamp(-1, 1)
        weight = high - high.sign() * high * high / 2 - low + low.sign() * low * low / 2
    weight = weight / weight.sum(1, keepdim=True)
    matrix = torch.zeros(size, native, dtype=torch.float64)
    return matrix.scatter_add(1, index.long().clamp(0, native - 1), weight)


def restoring(native: int, size: int, step: float) -> Tensor:
    """(native, size) weights of linear interpolation from working to scan voxels."""
    start = (native - 1) / 2 - step * (size - 1) / 2
    position = (torch.arange(native, dtype=torch.float64) - start) / step
    position = position.clamp(0, size - 1)
    whole = position.round()
    position = torch.where((position - whole).abs() < 1e-6, whole, position)
    cell = position.floor().long().clamp(0, max(0, size - 2))
    fraction = (position - cell)[:, None]
    matrix = torch.zeros(native, size, dtype=torch.float64)
    matrix = matrix.scatter_add(1, cell[:, None], 1 - fraction)
    return matrix.scatter_add(1, (cell + 1).clamp_max(size - 1)[:, None], fraction)


def resampled(image: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """Resample one axis of (C, X, Y, Z)."""
    same = matrix.shape[0] == matrix.shape[1]
    if same and bool((matrix - torch.eye(len(matrix), dtype=matrix.dtype)).abs().max() < 1e-6):
        return image
    moved = image.movedim(axis + 1, 3) @ matrix.to(image).t()
    return moved.movedim(3, axis + 1)
