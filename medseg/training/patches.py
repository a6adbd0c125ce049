"""Which patch comes when: a pure function of (seed, number of the patch), cut from the cache."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from medseg.training.cache import CachedCase
from medseg.transforms.augment import Patches


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
    """

    patch: tuple[int, ...]
    source_shape: tuple[int, ...]
    axes: tuple[int, ...]
    foreground: float
    batch: int
    seed: int


class PatchStream(IterableDataset[Patches]):
    """Endless batches from a given step on; any process can compute any of them.

    Args:
        cases: what to draw from; each epoch visits every case once, in a new order.
        plan: how.
        first_step: number of the first batch to give.
        rank, ranks: which part of every batch this process gives.
    """

    def __init__(
        self,
        cases: Sequence[CachedCase],
        plan: PatchPlan,
        first_step: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        super().__init__()
        self.cases = list(cases)
        self.plan = plan
        self.first_step = first_step
        self.rank = rank
        self.ranks = ranks
        self.partly = not all(all(case.facts.known) for case in self.cases)

    def __iter__(self) -> Iterator[Patches]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        step = self.first_step + worker
        while True:
            yield self.batch_of(step)
            step += workers

    def batch_of(self, step: int) -> Patches:
        """This process's part of the batch of a step."""
        per_rank = self.plan.batch // self.ranks
        first = step * self.plan.batch + self.rank * per_rank
        numbers = range(first, first + per_rank)
        drawn = [draw_patch(self.cases, self.plan, index) for index in numbers]
        images, classes, spacings = zip(*drawn, strict=True)
        return Patches(
            torch.from_numpy(np.stack(images)),
            torch.from_numpy(np.stack(classes)),
            torch.from_numpy(np.stack(spacings)),
            torch.arange(first, first + per_rank),
            self._known(numbers) if self.partly else None,
            self._left_right(numbers),
        )

    def _known(self, numbers: Iterable[int]) -> Tensor:
        """(B, classes) which classes each patch's truth was drawn for."""
        rows = [case_of(self.cases, self.plan, index).facts.known for index in numbers]
        return torch.tensor(rows)

    def _left_right(self, numbers: Iterable[int]) -> Tensor:
        """(B,) the spatial axis that runs most nearly left to right, -1 where none does."""
        axes = self.plan.axes
        sideways = [case_of(self.cases, self.plan, index).facts.left_right for index in numbers]
        return torch.tensor([axes.index(axis) if axis in axes else -1 for axis in sideways])


def draw_patch(
    cases: Sequence[CachedCase], plan: PatchPlan, index: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Patch number `index` of a run: image (C, *source), classes (*source), spacing (dims,)."""
    case = case_of(cases, plan, index)
    rng = np.random.default_rng([plan.seed, index])
    centre = _centre(case, plan, rng)
    shape = [1, 1, 1]
    for size, axis in zip(plan.source_shape, plan.axes, strict=True):
        shape[axis] = size
    image, classes = _cut(case, centre, shape)
    flat = tuple(axis for axis in range(3) if axis not in plan.axes)
    spacing = np.array([case.facts.spacing_mm[axis] for axis in plan.axes], dtype=np.float32)
    return image.squeeze(tuple(axis + 1 for axis in flat)), classes.squeeze(flat), spacing


def case_of(cases: Sequence[CachedCase], plan: PatchPlan, index: int) -> CachedCase:
    """The case that patch number `index` is cut from."""
    epoch, place = divmod(index, len(cases))
    order = np.random.default_rng([plan.seed, epoch, 3]).permutation(len(cases))
    return cases[int(order[place])]


def _centre(case: CachedCase, plan: PatchPlan, rng: np.random.Generator) -> NDArray[np.int64]:
    """The patch's centre: on a voxel of a class drawn evenly, or anywhere in the scan."""
    centres = case.centres
    if centres and rng.random() < plan.foreground:
        voxels = centres[sorted(centres)[rng.integers(len(centres))]]
        centre = [int(n) for n in voxels[rng.integers(len(voxels))]]
    else:
        centre = [int(rng.integers(size)) for size in case.facts.shape]
    for size, axis in zip(plan.patch, plan.axes, strict=True):
        room, half = case.facts.shape[axis], size // 2
        centre[axis] = (
            min(max(centre[axis], half), room - (size - half)) if room > size else room // 2
        )
    return np.array(centre)


def _cut(case: CachedCase, centre: NDArray[np.int64], shape: Sequence[int]) -> Any:
    """A box around a voxel; beyond the scan the border repeats and nothing is scored."""
    start = np.array([c - n // 2 for c, n in zip(centre, shape, strict=True)])
    stop = start + shape
    inner_start = np.clip(start, 0, np.array(case.facts.shape) - 1)
    inner_stop = np.clip(stop, 1, case.facts.shape)
    image, classes = case.box(tuple(inner_start), tuple(inner_stop))
    before, after = inner_start - start, stop - inner_stop
    if not (before.any() or after.any()):
        return image, classes
    margins = [(int(a), int(b)) for a, b in zip(before, after, strict=True)]
    return (
        np.pad(image, [(0, 0), *margins], mode="edge"),
        np.pad(classes, margins, constant_values=-1),
    )
