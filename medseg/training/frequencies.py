"""How frequent each class is in the prepared cases, and a new network that knows it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medseg.labels import LabelTable
from medseg.training.cache import CaseFacts


def class_shares(facts: Sequence[CaseFacts], labels: LabelTable) -> NDArray[np.float64]:
    """(classes,) share of the voxels that are not empty, background first; none is 0.

    Labels that no truth tells the extent of count as the middle one of the others, those that
    occur nowhere as one voxel in all cases.
    """
    content_ml = [_content_ml(fact) for fact in facts]
    least = 1 / sum(np.prod([end - first for first, end in fact.content]) for fact in facts)
    shares = np.full(len(labels.names), np.nan)
    for number, name in enumerate(labels.names):
        drawn = [
            fact.structures[name].volume_ml * fact.kept.get(name, 1.0) / ml
            for fact, ml in zip(facts, content_ml, strict=True)
            if name in fact.structures
        ]
        if drawn:
            shares[number] = max(float(np.mean(drawn)), least)
    middle = least if np.isnan(shares).all() else float(np.nanmedian(shares))
    shares = np.where(np.isnan(shares), middle, shares)
    return np.array([max(1 - shares.sum(), least), *shares])


def _content_ml(facts: CaseFacts) -> float:
    voxels = np.prod([end - first for first, end in facts.content])
    return float(voxels * np.prod(facts.spacing_mm) / 1000)


def begin_at(network: nn.Module, offset: Tensor) -> bool:
    """Add (classes,) to the logits of a network; whether it has heads where that can be done."""
    heads = getattr(network, "heads", ())
    biases = [bias for head in heads if isinstance(bias := getattr(head, "bias", None), Tensor)]
    if not biases or any(bias.shape != offset.shape for bias in biases):
        return False
    with torch.no_grad():
        for bias in biases:
            bias += offset.to(bias)
    return True
