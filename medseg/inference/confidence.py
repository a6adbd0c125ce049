"""The network's confidence along the surface of each label."""

from __future__ import annotations

import math

import torch

from medseg.labels import LabelTable

#: Boundary voxels of one label in one box that are looked at, at most; of all of them at most so
#: many before that. Evenly spaced ones stand for the rest.
LOOKED_AT, CONSIDERED = 256, 1 << 17


class BoundaryConfidence:
    """Gathers, while logits stream by, the certainty of working voxels at label boundaries.

    A boundary voxel has a neighbour along some axis that was decided otherwise. Its certainty
    is 1 minus the entropy of its probabilities over that of a coin toss between two classes,
    and 0 at least.
    """

    def __init__(self, labels: LabelTable) -> None:
        self._labels = labels
        decisions = len(labels.channel_values)
        self._sum = torch.zeros(decisions, dtype=torch.float64)
        self._count = torch.zeros(decisions, dtype=torch.float64)

    def observe(self, logits: torch.Tensor, decision: torch.Tensor) -> None:
        """Take in a box of (K, X, Y, Z) logits and their (X, Y, Z) decision."""
        where = _boundary(decision).flatten().nonzero()[:, 0]
        if len(where) == 0:
            return
        labels = len(self._count)
        every = torch.bincount(decision.flatten()[where], minlength=labels).cpu()
        where = where[:: max(1, len(where) // CONSIDERED)]
        where = where[_thinned(decision.flatten()[where], labels)]
        decided = decision.flatten()[where].long()
        _, height, depth = decision.shape  # torch.unravel_index would load sympy: a second
        x, y, z = where // (height * depth), where // depth % height, where % depth
        sure = self._certainty(logits[:, x, y, z].double(), decided).cpu()
        decided = decided.cpu()
        looked_at = torch.bincount(decided, minlength=labels)
        total = torch.zeros_like(self._sum).index_add_(0, decided, sure)
        stands_for = torch.where(looked_at > 0, every / looked_at.clamp_min(1), 0.0)
        self._sum += total * stands_for  # a box counts by its surface, however it was cut
        self._count += looked_at * stands_for

    def result(self) -> dict[str, float]:
        """0 to 1 for each label with a boundary: the mean over its boundary voxels."""
        found: dict[str, float] = {}
        for value, total, count in zip(
            self._labels.channel_values, self._sum.tolist(), self._count.tolist(), strict=True
        ):
            if value and count:
                found[self._labels.name_of(value)] = total / count
        return found

    def _certainty(self, logits: torch.Tensor, decided: torch.Tensor) -> torch.Tensor:
        """(voxels,) from (K, voxels) logits."""
        if self._labels.regions:
            innermost = logits.gather(0, (decided - 1).clamp_min(0)[None])[0]
            chance = torch.sigmoid(innermost)
            entropy = torch.special.entr(chance) + torch.special.entr(1 - chance)
        else:
            entropy = torch.special.entr(torch.softmax(logits, dim=0)).sum(0)
        certainty: torch.Tensor = (1 - entropy / math.log(2)).clamp_min(0)
        return certainty


def _thinned(decided: torch.Tensor, labels: int) -> torch.Tensor:
    """The numbers of some voxels of each label, evenly thinned; label by label."""
    by_label = torch.argsort(decided, stable=True)
    decided = decided[by_label].long()
    count = torch.bincount(decided, minlength=labels)
    rank = torch.arange(len(decided), device=decided.device) - (count.cumsum(0) - count)[decided]
    step = (count // LOOKED_AT).clamp_min(1)
    return by_label[rank % step[decided] == 0]


def _boundary(decision: torch.Tensor) -> torch.Tensor:
    edge = torch.zeros_like(decision, dtype=torch.bool)
    for axis, size in enumerate(decision.shape):
        if size > 1:
            low, high = decision.narrow(axis, 0, size - 1), decision.narrow(axis, 1, size - 1)
            differs = low != high
            edge.narrow(axis, 0, size - 1).logical_or_(differs)
            edge.narrow(axis, 1, size - 1).logical_or_(differs)
    return edge
