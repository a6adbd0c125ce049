"""How patches are drawn, and how they grow: small ones at first, more of them a step.

Small patches balance the classes better and are the easier task; many of them in a step make its
gradient less noisy. A step has about as many voxels all the time, so it costs the same (the
performance mode of Fischer et al. 2025, doi:10.48550/arXiv.2510.23241; they grow in more sizes).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

#: No axis shrinks below so many voxels, and sizes are multiples of the second number.
LEAST_VOXELS, MULTIPLE = 32, 16


@dataclass(frozen=True)
class PatchPlan:
    """How patches are drawn.

    Attributes:
        patch: voxels of the patch itself, kept inside the scan where the scan is larger.
        source_shape: voxels to cut around it along the same axes.
        axes: working axis behind each of them, by role; two for slices.
        foreground: share of patches centred on a labelled voxel, classes in turn.
        batch: patches a step, over all processes.
        seed: of the whole run.
        smaller: how patches are drawn before, while they grow to these; the smallest first.
    """

    patch: tuple[int, ...]
    source_shape: tuple[int, ...]
    axes: tuple[int, ...]
    foreground: float
    batch: int
    seed: int
    smaller: tuple[PatchPlan, ...] = ()

    @property
    def stages(self) -> tuple[PatchPlan, ...]:
        """From the smallest patches to these."""
        return (*self.smaller, self)


class Growth:
    """Which plan a step's patches are drawn by, and the number of the first of them.

    Args:
        stages: from the smallest patches to the largest; each holds for an even share of the way.
        share: a step's share of the way to the last step, 0-1; it must not change for a step that
            has been drawn.
    """

    def __init__(
        self, stages: Sequence[PatchPlan], share: Callable[[int], float] = lambda step: 1.0
    ) -> None:
        self.stages = tuple(stages)
        self.share = share
        self._firsts = [0]
        self._lock = Lock()  # threads read ahead

    def of(self, step: int) -> tuple[PatchPlan, int]:
        """The plan of a step, and how many patches came before it."""
        if len(self.stages) == 1:
            return self.stages[0], step * self.stages[0].batch
        with self._lock:
            while len(self._firsts) <= step:
                latest = len(self._firsts) - 1
                self._firsts.append(self._firsts[-1] + self._stage(latest).batch)
            return self._stage(step), self._firsts[step]

    def _stage(self, step: int) -> PatchPlan:
        place = int(self.share(step) * len(self.stages))
        return self.stages[min(place, len(self.stages) - 1)]


def sizes_up_to(patch: Sequence[int], count: int) -> tuple[tuple[int, ...], ...]:
    """At most so many patch shapes, growing evenly to the last; short axes stay as they are.

    >>> sizes_up_to((112, 112, 10), 3)
    ((32, 32, 10), (80, 80, 10), (112, 112, 10))
    >>> sizes_up_to((40, 56, 40), 2)
    ((32, 32, 32), (40, 56, 40))

    Args:
        patch: the last shape, in voxels.
        count: of shapes, fewer where two would be equal.
    """
    shapes = (tuple(_part(n, place / count) for n in patch) for place in range(1, count + 1))
    return tuple(dict.fromkeys(shapes))


def patches_in_place_of(patch: Sequence[int], smaller: Sequence[int]) -> int:
    """How many smaller patches have about the voxels of one.

    >>> patches_in_place_of((112, 112, 10), (32, 32, 10))
    12
    """
    return max(1, math.prod(patch) // math.prod(smaller))


def _part(size: int, share: float) -> int:
    """A share of an axis, rounded; never more than the axis or less than the least."""
    rounded = round(size * share / MULTIPLE) * MULTIPLE
    return size if share == 1 else min(size, max(LEAST_VOXELS, rounded))
