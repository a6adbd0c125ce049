"""Which patch comes when: a pure function of (seed, number of the patch).

It is cut from the cache on disk, or on the GPU where that holds the cases; the same either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from medseg.training.cache import CachedCase
from medseg.training.device_cases import DeviceCases
from medseg.training.patch_plan import Growth, PatchPlan
from medseg.transforms.augment import Patches


class PatchStream(IterableDataset[Patches]):
    """Endless batches from a given step on; any process can compute any of them.

    Args:
        cases: what to draw from; each epoch visits every case once, in a new order.
        plan: how.
        first_step: number of the first batch to give.
        rank, ranks: which part of every batch this process gives.
        pool: the same cases on a GPU, where they fit; batches are then cut there.
        share: a step's share of the way to the last one, 0-1, by which patches grow; they are as
            large as they become where it is left out.
    """

    def __init__(
        self,
        cases: Sequence[CachedCase],
        plan: PatchPlan,
        first_step: int = 0,
        rank: int = 0,
        ranks: int = 1,
        pool: DeviceCases | None = None,
        share: Callable[[int], float] | None = None,
    ) -> None:
        super().__init__()
        self.pool = pool
        self.cases = list(cases)
        self.plan = plan
        self.growth = Growth((plan,)) if share is None else Growth(plan.stages, share)
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
        plan, before = self.growth.of(step)
        per_rank = plan.batch // self.ranks
        first = before + self.rank * per_rank
        numbers = range(first, first + per_rank)
        places = [place_of(self.cases, plan, index) for index in numbers]
        cut = self._cut_on_disk if self.pool is None else self._cut_on_device
        image, classes = cut(places, _box_shape(plan))
        return Patches(
            image,
            classes,
            torch.tensor([_spacing(self.cases[place.case], plan) for place in places]),
            torch.arange(first, first + per_rank),
            self._known(places) if self.partly else None,
            self._left_right(places),
        )

    def _cut_on_disk(
        self, places: Sequence[Place], shape: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        boxes = [_cut(self.cases[place.case], place.start, shape) for place in places]
        images, classes = zip(*boxes, strict=True)
        return self._flattened(
            torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(classes))
        )

    def _cut_on_device(
        self, places: Sequence[Place], shape: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        if self.pool is None:
            raise RuntimeError("no cases are on the device")
        cases, starts = zip(*places, strict=True)
        return self._flattened(*self.pool.cut(cases, starts, shape))

    def _flattened(self, image: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Without the axis that slices run across, if any."""
        for axis in range(3):
            if axis not in self.plan.axes:
                image, classes = image.squeeze(axis + 2), classes.squeeze(axis + 1)
        return image, classes

    def _known(self, places: Iterable[Place]) -> Tensor:
        """(B, classes) which classes each patch's truth was drawn for."""
        return torch.tensor([self.cases[place.case].facts.known for place in places])

    def _left_right(self, places: Iterable[Place]) -> Tensor:
        """(B,) the spatial axis that runs most nearly left to right, -1 where none does."""
        axes = self.plan.axes
        sideways = [self.cases[place.case].facts.left_right for place in places]
        return torch.tensor([axes.index(axis) if axis in axes else -1 for axis in sideways])


class Place(NamedTuple):
    """Where a patch is cut: the number of its case, and the first voxel along its working axes."""

    case: int
    start: tuple[int, ...]


def place_of(cases: Sequence[CachedCase], plan: PatchPlan, index: int) -> Place:
    """Where patch number `index` of a run is cut; its source may reach beyond the scan."""
    epoch, place = divmod(index, len(cases))
    order = np.random.default_rng([plan.seed, epoch, 3]).permutation(len(cases))
    case = int(order[place])
    centre = _centre(cases[case], plan, np.random.default_rng([plan.seed, index]))
    return Place(
        case, tuple(int(c) - n // 2 for c, n in zip(centre, _box_shape(plan), strict=True))
    )


def _box_shape(plan: PatchPlan) -> tuple[int, ...]:
    """Voxels to cut along the three working axes; one across slices."""
    shape = [1, 1, 1]
    for size, axis in zip(plan.source_shape, plan.axes, strict=True):
        shape[axis] = size
    return tuple(shape)


def _spacing(case: CachedCase, plan: PatchPlan) -> list[float]:
    return [case.facts.spacing_mm[axis] for axis in plan.axes]


def _centre(case: CachedCase, plan: PatchPlan, rng: np.random.Generator) -> NDArray[np.int64]:
    """The patch's centre: on a voxel of a class drawn evenly, or anywhere but in empty margins."""
    centres = case.centres
    if centres and rng.random() < plan.foreground:
        voxels = centres[sorted(centres)[rng.integers(len(centres))]]
        centre = [int(n) for n in voxels[rng.integers(len(voxels))]]
    else:
        centre = [int(rng.integers(first, end)) for first, end in case.facts.content]
    for size, axis in zip(plan.patch, plan.axes, strict=True):
        room, half = case.facts.shape[axis], size // 2
        centre[axis] = (
            min(max(centre[axis], half), room - (size - half)) if room > size else room // 2
        )
    return np.array(centre)


def _cut(case: CachedCase, first: Sequence[int], shape: Sequence[int]) -> Any:
    """A box from a voxel on; beyond the scan the border repeats and nothing is scored."""
    start = np.array(first)
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
