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

#: From so many classes on, those of a voxel are gone through side by side.
_MANY = 16


def softmax_sums(
    logits: Tensor, index: Tensor, weight: Tensor, offset: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sums over a batch of what an overlap is made of, and the cross-entropy of each voxel.

    Args:
        logits: (B, K, *spatial) of any precision; computed in float32.
        index: (B, *spatial) true class of each voxel.
        weight: (B, *spatial) bool, whether a voxel counts in the sums.
        offset: (K,) taken off the logits of every voxel.

    Returns:
        Three of (K,): the probability of each class where it is true, its probability
        everywhere, and its true voxels; and (B, *spatial) cross-entropies, of all voxels.
    """
    sums: tuple[Tensor, Tensor, Tensor, Tensor] = _SoftmaxSums.apply(  # type: ignore[no-untyped-call]
        logits, index, weight, offset
    )
    return sums


class _SoftmaxSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, index: Tensor, weight: Tensor, offset: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ctx.save_for_backward(logits, index, weight)
        ctx.offset = offset
        hit, probable, true = (
            torch.zeros(logits.shape[1], dtype=torch.float32, device=logits.device)
            for _ in range(3)
        )
        losses = torch.empty(index.shape, dtype=torch.float32, device=logits.device)
        for part in _portions(logits):
            values, classes, counted = _flattened(logits, index, weight, part, offset)
            log_probability = values.log_softmax(1)
            log_of_true = log_probability.gather(1, classes[:, None])[:, 0]
            losses[part] = -log_of_true.view(losses[part].shape)
            probability = log_probability.exp_()
            probable += _over_voxels(probability, counted)
            hit += _by_class(log_of_true.exp() * counted, classes, len(hit))
            true += _by_class(counted, classes, len(true))
        ctx.mark_non_differentiable(true)
        return hit, probable, true, losses

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_hit: Tensor, of_probable: Tensor, of_true: Tensor, of_losses: Tensor
    ) -> tuple[Tensor, None, None, None]:
        del of_true
        logits, index, weight = ctx.saved_tensors
        gradient = torch.empty_like(logits)
        for part in _portions(logits):
            values, classes, counted = _flattened(logits, index, weight, part, ctx.offset)
            probability = values.softmax(1)
            of_voxel = of_losses[part].reshape(classes.shape)
            at_true = probability.gather(1, classes[:, None])[:, 0] * counted * of_hit[classes]
            mean = _over_classes(probability, of_probable) * counted + at_true
            spread = of_probable.view(1, -1, *[1] * (values.ndim - 2))
            result = torch.addcmul((of_voxel - mean)[:, None], counted[:, None], spread)
            result.mul_(probability)
            true = result.gather(1, classes[:, None]) + (at_true - of_voxel)[:, None]
            _set(gradient, part, result.scatter_(1, classes[:, None], true))
        return gradient, None, None, None


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


def _flattened(
    logits: Tensor,
    index: Tensor,
    weight: Tensor,
    part: tuple[slice, slice],
    offset: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """A portion's values as float32 (n, K), or (b, K, n) where classes lie apart in memory.

    With it true classes and weights, (n) or (b, n).
    """
    values, classes, counted = logits[_of_logits(part)], index[part], weight[part]
    if _is_by_voxel(logits):
        flat = values.movedim(1, -1).reshape(-1, logits.shape[1]).float()
        flat = flat if offset is None else flat - offset
        return flat, classes.reshape(-1), counted.reshape(-1).float()
    flat = values.flatten(2).float()
    flat = flat if offset is None else flat - offset[:, None]
    return flat, classes.flatten(1), counted.flatten(1).float()


def _set(gradient: Tensor, part: tuple[slice, slice], values: Tensor) -> None:
    """Put a portion's (n, K) or (b, K, n) where it belongs."""
    here = gradient[_of_logits(part)]
    if _is_by_voxel(gradient):
        here = here.movedim(1, -1)
    here.copy_(values.view(here.shape))


def _is_by_voxel(logits: Tensor) -> bool:
    """Whether the classes of a voxel lie side by side, and are enough for that to pay."""
    return logits.stride(1) == 1 and logits.shape[1] >= _MANY


def _over_voxels(probability: Tensor, counted: Tensor) -> Tensor:
    """(K,) weighted sums."""
    if counted.ndim == 1:
        return counted @ probability
    return torch.einsum("bkn,bn->k", probability, counted)


def _over_classes(probability: Tensor, of_class: Tensor) -> Tensor:
    """(n) or (b, n) sums weighted by class."""
    if probability.ndim == 2:
        return probability @ of_class
    return torch.einsum("bkn,k->bn", probability, of_class)


def _by_class(values: Tensor, classes: Tensor, many: int) -> Tensor:
    """(K,) sums of the values of each class, the same at every call."""
    values, classes = values.flatten(), classes.flatten()
    if values.device.type == "cpu":
        return torch.bincount(classes, values, many).float()
    apart = values.new_zeros(many, len(values))  # a GPU's bincount adds in any order
    return apart.scatter_(0, classes[None], values[None]).sum(1)


def _of_logits(part: tuple[slice, slice]) -> tuple[slice, slice, slice]:
    return part[0], slice(None), part[1]
