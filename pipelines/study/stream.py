"""Draws and augments the batches of a seed once; every network sees the same ones."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from medseg.config import AugmentConfig
from medseg.transforms.augment import Augment, Patches, source_shape
from study.cohorts import StudyCase, StudyCohort, intensities

#: Small turns and zooms: the slices are crops already.
AUGMENT = AugmentConfig()

#: Share of patches from slices (2D) that hold a structure.
FOREGROUND = 0.7


class Stream:
    """Batch number n of a seed, augmented, on the device; computed once and kept.

    Args:
        cohort: whose train cases are drawn from.
        seed: of drawing and augmenting.
        device: where the batches are made and stay.
    """

    def __init__(self, cohort: StudyCohort, seed: int, device: torch.device) -> None:
        self.cohort, self.seed, self.device = cohort, seed, device
        self.axes = (0, 1, 2)[: cohort.dims]
        self.source = source_shape(cohort.patch, AUGMENT, cohort.cases[0].spacing_mm)
        self.augment = Augment(AUGMENT, cohort.patch, self.axes, cohort.table, seed)
        self.images = [torch.from_numpy(intensities(case.image)) for case in cohort.train]
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}

    def make(self, steps: int) -> None:
        """Make the batches of so many steps, so that no network pays for them."""
        for step in range(steps):
            if step not in self.kept:
                self.kept[step] = self._made(step)

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """(B, 1, *patch) float32 images and (B, *patch) int64 classes of a step."""
        if step not in self.kept:
            self.kept[step] = self._made(step)
        image, classes = self.kept[step]
        return image.float(), classes.long()

    @torch.no_grad()
    def _made(self, step: int) -> tuple[Tensor, Tensor]:
        batch = self.cohort.batch
        numbers = range(step * batch, (step + 1) * batch)
        images, classes, spacings = zip(*(self._drawn(number) for number in numbers), strict=True)
        patches = Patches(
            torch.stack(images),
            torch.stack(classes),
            torch.stack(spacings),
            torch.tensor(list(numbers)),
            None,
            torch.full((batch,), -1),
        )
        changed = self.augment(patches.to(self.device))
        return changed.image.half(), changed.classes.to(torch.int8)

    def _drawn(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """One patch with its surroundings, not yet augmented."""
        rng = np.random.default_rng([self.seed, number])
        place = int(rng.integers(len(self.cohort.train)))
        case, image = self.cohort.train[place], self.images[place]
        classes = torch.from_numpy(case.classes.astype(np.int64))
        if self.cohort.dims == 2:
            z = _slice(case, rng)
            image, classes = image[..., z], classes[..., z]
        spacing = torch.tensor(case.spacing_mm[: self.cohort.dims])
        start = [
            int(rng.integers(min(0, size - want), max(0, size - want) + 1))
            for size, want in zip(image.shape, self.source, strict=True)
        ]
        return _cut(image, start, self.source)[None], _cut(classes, start, self.source, -1), spacing


def _slice(case: StudyCase, rng: np.random.Generator) -> int:
    held = np.flatnonzero(case.classes.any((0, 1)))
    if len(held) and rng.random() < FOREGROUND:
        return int(rng.choice(held))
    return int(rng.integers(case.classes.shape[2]))


def _cut(
    array: Tensor, start: list[int], shape: tuple[int, ...], fill: int | None = None
) -> Tensor:
    """A box; beyond the array the border repeats, or ``fill`` stands."""
    for axis, (first, size) in enumerate(zip(start, shape, strict=True)):
        places = torch.arange(first, first + size)
        inside = places.clamp(0, array.shape[axis] - 1)
        array = array.index_select(axis, inside)
        if fill is not None:
            beyond = (places != inside).nonzero().flatten()
            array = array.index_fill(axis, beyond, fill)
    return array
