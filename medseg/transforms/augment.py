"""Random changes of training patches, a whole batch at once: one resampling, then intensities.

Random numbers depend on (seed, number of the patch) alone, so that a patch looks the same whatever
batch, process or resumed run it falls into, up to the last digits of sums. Nothing is read back
from the device, so that a GPU never waits for the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from medseg.config import AugmentConfig, MirrorAxis
from medseg.labels import LabelTable
from medseg.transforms.draws import Draws, draw
from medseg.transforms.intensity import change_intensity, enlarge
from medseg.transforms.sample import sample_classes, sample_image


@dataclass(frozen=True)
class Patches:
    """A batch of training patches.

    Attributes:
        image: (B, C, *spatial) float32, or float16 as it comes from the cache.
        classes: (B, *spatial) integer class indices, -1 where not scored.
        spacing_mm: (B, dims) float32 distance between voxels, on the CPU.
        index: (B,) int64 number of each patch in the whole run, on the CPU; seeds its random
            numbers.
        left_right: (B,) int64 spatial axis of each patch that runs most nearly left to right, -1
            where none of them does, on the CPU; ``None`` where that is working axis 0 of every
            patch.
        known: (B, classes) whether a patch's truth was drawn for that class (background
            always); ``None`` where all were. What was not drawn hides in the background.
    """

    image: Tensor
    classes: Tensor
    spacing_mm: Tensor
    index: Tensor
    known: Tensor | None = None
    left_right: Tensor | None = None

    def to(self, device: torch.device) -> Patches:
        """The same batch on a device; what Python reads stays on the CPU."""
        return self._with_voxels(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Patches:
        """The same batch in page-locked memory, from where a GPU copies without the host."""
        return self._with_voxels(lambda tensor: tensor.pin_memory())

    def _with_voxels(self, change: Callable[[Tensor], Tensor]) -> Patches:
        known = None if self.known is None else change(self.known)
        return replace(self, image=change(self.image), classes=change(self.classes), known=known)


def source_shape(
    patch: Sequence[int], config: AugmentConfig, spacing_mm: Sequence[float]
) -> tuple[int, ...]:
    """Voxels to cut around a patch so that a turned and shrunk one stays inside, mostly.

    The surplus is even along every axis: a patch that is not deformed is cropped exactly. Patches
    turn in mm, so that a thick slab takes little more than itself.

    >>> source_shape((224, 224, 10), AugmentConfig(rotate_degrees=8), (1.4, 1.4, 10.0))
    (304, 304, 20)
    """
    turn = math.radians(min(config.rotate_degrees, 45.0))
    surplus = []
    for axis, size in enumerate(patch):
        others = [
            n * spacing_mm[other] / spacing_mm[axis]
            for other, n in enumerate(patch)
            if other != axis
        ]
        turned = size * math.cos(turn) + max(others, default=0) * math.sin(turn)
        needed = max(size, turned) / config.scale[0] + 2 * config.elastic_voxels
        surplus.append(math.ceil(max(0.0, needed - size) / 2) * 2)
    if config.spatial == 0:
        return tuple(patch)
    return tuple(size + extra for size, extra in zip(patch, surplus, strict=True))


def mirrored_axes(
    wanted: Sequence[MirrorAxis], axes: Sequence[int], left_right: int | None, labels: LabelTable
) -> tuple[int, ...]:
    """The spatial axes of one scan's patches that may be mirrored.

    The scan's left-right axis is one of them only where labels with a side can swap with it.

    Args:
        wanted: as the config says.
        axes: working axis behind each spatial axis.
        left_right: the spatial axis that runs most nearly left to right, if one does.
        labels: of the patches.
    """
    named = {axes.index(axis) for axis in wanted if axis in axes}
    if "left-right" in wanted and left_right is not None:
        named.add(left_right)
    if labels.mirror_pairing() is None:
        named.discard(-1 if left_right is None else left_right)
    return tuple(sorted(named))


class Augment:
    """Callable on :class:`Patches` of the source shape; returns patches of the patch shape.

    Args:
        config: what to do and how often.
        patch: spatial shape of the result.
        axes: working axis behind each spatial axis, by role.
        labels: says which classes swap when left and right are mirrored.
        seed: of the whole run.
        smaller: source shape to patch shape, for patches that grow to `patch`.
    """

    def __init__(
        self,
        config: AugmentConfig,
        patch: Sequence[int],
        axes: Sequence[int],
        labels: LabelTable,
        seed: int,
        smaller: Mapping[tuple[int, ...], tuple[int, ...]] | None = None,
    ) -> None:
        self.config = config
        self.patch = tuple(patch)
        self.smaller = smaller or {}
        self.seed = seed
        self.axes = tuple(axes)
        self.labels = labels
        self.swap = _class_swap(labels)

    def __call__(self, patches: Patches) -> Patches:
        """Deform, crop and change intensities of a batch."""
        index = patches.index.tolist()
        shape = self.smaller.get(tuple(patches.image.shape[2:]), self.patch)
        draws = self._draw(patches, shape, index)
        offsets = _offsets(draws, shape)
        image = sample_image(patches.image.float(), offsets)
        classes = sample_classes(patches.classes, offsets)
        known = patches.known
        if draws.swapped is not None:
            self.swap = self.swap.to(classes.device)
            classes, known = _sides_swapped(classes, known, draws.swapped, self.swap)
        image = change_intensity(image, draws, self.seed, index)
        return replace(patches, image=image, classes=classes, known=known)

    def _draw(self, patches: Patches, shape: tuple[int, ...], index: Sequence[int]) -> Draws:
        """What happens to each patch."""
        sideways = self._left_right(patches)
        mirrors = [
            mirrored_axes(self.config.mirror_axes, self.axes, axis, self.labels)
            for axis in sideways
        ]
        return draw(
            self.config,
            shape,
            patches.spacing_mm.numpy(),
            mirrors,
            sideways,
            self.seed,
            index,
            patches.image.device,
        )

    def _left_right(self, patches: Patches) -> list[int | None]:
        """The spatial axis of each patch that runs most nearly left to right, if one does."""
        if patches.left_right is None:
            return [self.axes.index(0) if 0 in self.axes else None] * len(patches.index)
        return [None if axis < 0 else axis for axis in patches.left_right.tolist()]


def _offsets(draws: Draws, shape: tuple[int, ...]) -> list[Tensor]:
    """For each axis (B, *shape): where a voxel comes from, from the middle of the source."""
    device, dims = draws.matrix.device, len(shape)
    lines = []
    for axis, size in enumerate(shape):
        line = torch.arange(size, dtype=torch.float32, device=device) - (size - 1) / 2
        lines.append(line.view(1, *[-1 if a == axis else 1 for a in range(dims)]))
    moved = None if draws.field is None else enlarge(draws.field, shape)
    offsets = []
    for axis in range(dims):
        factors = draws.matrix[:, axis].view(-1, dims, *[1] * dims)
        offset = factors[:, 0] * lines[0]
        for other in range(1, dims):
            offset = offset + factors[:, other] * lines[other]
        offsets.append(offset if moved is None else offset + moved[:, axis])
    return offsets


def _class_swap(labels: LabelTable) -> Tensor:
    """Table over class index + 1 (0 = not scored) that swaps the two sides of each pair."""
    table = torch.arange(len(labels.values) + 2)
    for a, b in labels.mirror_pairing() or ():
        i, j = labels.values.index(a) + 2, labels.values.index(b) + 2
        table[i], table[j] = j, i
    return table


def _sides_swapped(
    classes: Tensor, known: Tensor | None, rows: Tensor, swap: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Classes with a side and what is known of them, exchanged in some patches of a batch."""
    turned = swap[classes.index_select(0, rows).long() + 1] - 1
    classes = classes.index_copy(0, rows, turned.to(classes.dtype))
    if known is not None:
        columns = swap[1:] - 1
        known = known.index_copy(0, rows, known.index_select(0, rows)[:, columns])
    return classes, known
