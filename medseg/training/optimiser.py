"""The optimiser of a run: AdamW with linear warm-up, then a rate that falls to zero."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from medseg.config import LoopConfig
from medseg.training.length import Length

#: How the learning rate falls after the warm-up: share of the way (0-1) to share of the peak.
_DECAYS: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "poly": lambda done: (1 - done) ** 0.9,  # doi:10.1038/s41592-020-01008-z
}


def build_optimizer(network: nn.Module, loop: LoopConfig, *, fused: bool) -> torch.optim.AdamW:
    """AdamW (doi:10.48550/arXiv.1711.05101); biases and norms do not decay.

    Args:
        network: whose weights are learnt.
        loop: rate at the peak, and decay of the weights.
        fused: all weights in one kernel.
    """
    decayed = [each for each in network.parameters() if each.ndim > 1]
    others = [each for each in network.parameters() if each.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": loop.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=loop.learning_rate, fused=fused or None)


def rate(step: int, loop: LoopConfig, length: Length | None) -> float:
    """Learning rate of a step as a share of the peak.

    >>> loop = LoopConfig(steps=100, warmup=4)
    >>> [round(rate(step, loop, Length(((4, 100),))), 2) for step in (0, 3, 4, 52, 100)]
    [0.2, 0.8, 1.0, 0.5, 0.0]

    Args:
        step: from 0.
        loop: its warm-up and decay count.
        length: of the run; ``None`` in the warm-up of a time budget, which does not depend on it.
    """
    if step < loop.warmup:
        return (step + 1) / (loop.warmup + 1)
    return _DECAYS[loop.decay](length.progress(step)) if length else 1.0
