"""Softmax probabilities summed over voxels, and each voxel's cross-entropy, in little memory.

Written out, a loss holds a dozen numbers for each voxel and class: a float32 copy of the logits,
their log-softmax and softmax, the truth one-hot, products, and gradients of all these. Here the
voxels go by in portions, forward and again backward, so that beside the logits themselves nothing
but their gradient has voxels times classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Values of a portion of voxels in all classes: small enough for the caches of a CPU, large enough
#: to keep a GPU busy.
_PORTION, _GPU_PORTION = 2**20, 2**24


def softmax_sums(
    logits: Tensor, index: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sums over a batch of what an overlap is made of, and the cross-entropy of each voxel.

    Args:
        logits: (B, K, *spatial) of any precision; computed in float32.
        index: (B, *spatial) true class of each voxel.
        weight: (B, *spatial) bool, whether a voxel counts in the sums.

    Returns:
        Three of (K,): the probability of each class where it is true, its probability
        everywhere, and its true voxels; and (B, *spatial) cross-entropies, of all voxels.
    """
    sums: tuple[Tensor, Tensor, Tensor, Tensor] = _SoftmaxSums.apply(  # type: ignore[no-untyped-call]
        logits, index, weight
    )
    return sums


class _SoftmaxSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, index: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ctx.save_for_backward(logits, index, weight)
        hit, probable, true = (
            torch.zeros(logits.shape[1], dtype=torch.float32, device=logits.device)
            for _ in range(3)
        )
        losses = torch.empty(index.shape, dtype=torch.float32, device=logits.device)
        for part in _portions(logits):
            classes, counted = index[part][:, None], weight[part][:, None]
            log_probability = logits[_of_logits(part)].float().log_softmax(1)
            losses[part] = -log_probability.gather(1, classes)[:, 0]
            probability = log_probability.exp_().mul_(counted)
            is_true = _is_true(classes, logits) & counted
            axes = [0, *range(2, probability.ndim)]
            probable += probability.sum(axes)
            hit += probability.mul_(is_true).sum(axes)
            true += is_true.sum(axes)
        ctx.mark_non_differentiable(true)
        return hit, probable, true, losses

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_hit: Tensor, of_probable: Tensor, of_true: Tensor, of_losses: Tensor
    ) -> tuple[Tensor, None, None]:
        del of_true
        logits, index, weight = ctx.saved_tensors
        gradient = torch.empty_like(logits)
        spread = [1, -1, *[1] * (logits.ndim - 2)]
        for part in _portions(logits):
            classes, counted = index[part][:, None], weight[part][:, None]
            probability = logits[_of_logits(part)].float().softmax(1)
            is_true = _is_true(classes, logits)
            of_probability = torch.where(
                is_true, (of_hit + of_probable).view(spread), of_probable.view(spread)
            ).mul_(counted)
            of_voxel = of_losses[part][:, None]
            mean = (probability * of_probability).sum(1, keepdim=True)
            result = of_probability.sub_(mean).add_(of_voxel).mul_(probability)
            gradient[_of_logits(part)] = result.sub_(is_true * of_voxel)
        return gradient, None, None


def _is_true(classes: Tensor, logits: Tensor) -> Tensor:
    """(b, K, *portion) whether each class is a voxel's true one."""
    numbers = torch.arange(logits.shape[1], device=logits.device)
    return classes == numbers.view(1, -1, *[1] * (logits.ndim - 2))


def _portions(logits: Tensor) -> Iterator[tuple[slice, slice]]:
    """Slices of the batch and of the first spatial axis, which hold every voxel once."""
    batch, classes, first = logits.shape[:3]
    plane = logits[0, 0, 0].numel() * classes
    portion = _PORTION if logits.device.type == "cpu" else _GPU_PORTION
    rows = max(1, portion // plane)
    several = max(1, rows // first)
    for b in range(0, batch, several):
        for x in range(0, first, rows):
            yield slice(b, b + several), slice(x, x + rows)


def _of_logits(part: tuple[slice, slice]) -> tuple[slice, slice, slice]:
    return part[0], slice(None), part[1]
