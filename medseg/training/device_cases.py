"""The prepared cases of a run held on its GPU, where patches are cut without the host."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from medseg.training.cache import CachedCase

_log = logging.getLogger(__name__)

#: Bytes a voxel: float16 of each channel, and int16 for its class.
_BYTES = 2

#: Largest number that 32-bit positions reach.
_MOST_POSITIONS = 2**31 - 1


class DeviceCases:
    """All cases one behind the other, flat: images float16 (C, voxels), classes int16 (voxels,).

    Args:
        cases: with the same channels.
        device: that holds them.
    """

    def __init__(self, cases: Sequence[CachedCase], device: torch.device) -> None:
        sizes = [math.prod(case.facts.shape) for case in cases]
        self._starts = np.cumsum([0, *sizes])[:-1]
        self._shapes = np.array([case.facts.shape for case in cases])
        self._images: Tensor | None = None
        self.device = device
        channels = len(cases[0].facts.intensity)
        images = torch.empty((channels, sum(sizes)), dtype=torch.float16, device=device)
        classes = torch.empty(sum(sizes), dtype=torch.int16, device=device)
        for case, start, size in zip(cases, self._starts, sizes, strict=True):
            image, truth = case.box((0, 0, 0), case.facts.shape)
            images[:, start : start + size] = torch.from_numpy(image).flatten(1).to(device)
            classes[start : start + size] = torch.from_numpy(truth).flatten().to(device)
        self._images, self._classes = images, classes

    def cut(
        self, cases: Sequence[int], starts: Sequence[Sequence[int]], shape: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Boxes of one shape: (B, C, *shape) float16 and (B, *shape) int16 on the device.

        Beyond a scan its border repeats and nothing is scored (-1).

        Args:
            cases: which case each box is cut from.
            starts: its first voxel, which may lie outside.
            shape: voxels of each box along the working axes.
        """
        if self._images is None:
            raise RuntimeError("the cases are no longer on the device")
        facts = self._facts(cases, starts)
        inside = torch.ones((), dtype=torch.bool, device=self.device)
        flat = facts[:, 0].view(-1, 1, 1, 1)
        for axis, size in enumerate(shape):
            wanted = facts[:, 1 + axis, None] + torch.arange(size, device=self.device)
            place = torch.minimum(wanted.clamp(min=0), facts[:, 4 + axis, None] - 1)
            line = [-1 if a == axis else 1 for a in range(3)]
            inside = inside & (place == wanted).view(len(facts), *line)
            flat = flat + (place * facts[:, 7 + axis, None]).view(len(facts), *line)
        if self._images.shape[1] <= _MOST_POSITIONS:
            flat = flat.int()
        places = flat.flatten()
        image = self._images.index_select(1, places).view(-1, *flat.shape).transpose(0, 1)
        classes = self._classes.index_select(0, places).view(flat.shape)
        return image, classes.masked_fill(~inside, -1)

    def _facts(self, cases: Sequence[int], starts: Sequence[Sequence[int]]) -> Tensor:
        """(B, 10) start in the flat tensor; first voxel, shape and step of each axis."""
        shapes = self._shapes[list(cases)]
        steps = np.stack([shapes[:, 1] * shapes[:, 2], shapes[:, 2], np.ones(len(shapes), int)], 1)
        columns = (self._starts[list(cases), None], np.asarray(starts), shapes, steps)
        facts = torch.from_numpy(np.concatenate(columns, axis=1).astype(np.int64))
        if self.device.type == "cuda":
            facts = facts.pin_memory()
        return facts.to(self.device, non_blocking=True)

    def release(self) -> None:
        """Give the memory back."""
        self._images = None
        self._classes = torch.empty(0, dtype=torch.int16)


def needed_bytes(cases: Sequence[CachedCase]) -> int:
    """What prepared cases would take on a device."""
    return sum(
        math.prod(case.facts.shape) * _BYTES * (len(case.facts.intensity) + 1) for case in cases
    )


def cases_on(cases: Sequence[CachedCase], device: torch.device, share: float) -> DeviceCases | None:
    """The cases on a GPU, where they take at most a share of what is free there; else ``None``."""
    if device.type != "cuda" or share == 0:
        return None
    free, _ = torch.cuda.mem_get_info(device)
    needed = needed_bytes(cases)
    if needed > share * free:
        _log.info(
            "prepared cases take %.1f GB, more than %.0f %% of the %.1f GB that are free on the"
            " GPU: threads read them ahead of time",
            needed / 1e9,
            100 * share,
            free / 1e9,
        )
        return None
    return DeviceCases(cases, device)
