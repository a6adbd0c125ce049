"""Random changes of training patches, batched on the device: one resampling, then intensities.

Every random number comes from a generator seeded by (seed, index of the patch), so that a
patch looks the same whatever batch, process or resumed run it falls into.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medseg.config import AugmentConfig, MirrorAxis
from medseg.labels import LabelTable

#: Channels resampled at once; more would need memory in classes x voxels.
_CHANNELS_AT_ONCE = 8


@dataclass(frozen=True)
class Patches:
    """A batch of training patches.

    Attributes:
        image: (B, C, *spatial) float32.
        classes: (B, *spatial) int64 class indices, -1 where not scored.
        spacing_mm: (B, dims) float32 distance between voxels.
        index: (B,) int64 number of each patch in the whole run; seeds its random numbers.
        left_right: (B,) int64 spatial axis of each patch that runs most nearly left to right, -1
            where none of them does; ``None`` where that is working axis 0 of every patch.
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
        """The same batch on a device; the index stays where Python reads it."""
        image, classes = (t.to(device, non_blocking=True) for t in (self.image, self.classes))
        known = None if self.known is None else self.known.to(device, non_blocking=True)
        spacing = self.spacing_mm.to(device)
        return Patches(image, classes, spacing, self.index, known, self.left_right)


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
        labels: tells which classes swap when left and right are mirrored.
        seed: of the whole run.
    """

    def __init__(
        self,
        config: AugmentConfig,
        patch: Sequence[int],
        axes: Sequence[int],
        labels: LabelTable,
        seed: int,
    ) -> None:
        self.config = config
        self.patch = tuple(patch)
        self.seed = seed
        self.axes = tuple(axes)
        self.labels = labels
        self.swap = _class_swap(labels)

    def __call__(self, patches: Patches) -> Patches:
        """Deform, crop and change intensities of a batch."""
        device = patches.image.device
        generators = [_generator(self.seed, int(i), device) for i in patches.index]
        sideways = self._left_right(patches)
        draws = [
            _Draws.take(self, np.random.default_rng([self.seed, int(i), 1]), left_right)
            for i, left_right in zip(patches.index, sideways, strict=True)
        ]
        grid = torch.stack(
            [
                self._sampling_grid(draw, generator, spacing, patches.image.shape[2:])
                for draw, generator, spacing in zip(
                    draws, generators, patches.spacing_mm, strict=True
                )
            ]
        )
        image = _sample(patches.image, grid, border=True)
        classes = _sample_classes(patches.classes, grid)
        known = None if patches.known is None else patches.known.clone()
        for b, draw in enumerate(draws):
            left_right = sideways[b]
            if left_right is not None and draw.flips[left_right] < 0:
                swap = self.swap.to(device)
                classes[b] = swap[classes[b] + 1] - 1
                if known is not None:
                    known[b] = known[b][swap[1:] - 1]
            image[b] = _change_intensity(image[b], draw, generators[b])
        spacing = patches.spacing_mm
        return Patches(image, classes, spacing, patches.index, known, patches.left_right)

    def _left_right(self, patches: Patches) -> list[int | None]:
        """The spatial axis of each patch that runs most nearly left to right, if one does."""
        if patches.left_right is None:
            return [self.axes.index(0) if 0 in self.axes else None] * len(patches.index)
        return [None if axis < 0 else axis for axis in patches.left_right.tolist()]

    def _sampling_grid(
        self, draw: _Draws, generator: torch.Generator, spacing_mm: Tensor, source: Sequence[int]
    ) -> Tensor:
        """(*patch, dims) source positions in grid_sample's units (last axis first)."""
        device, dims = spacing_mm.device, len(self.patch)
        spacing = spacing_mm.to(torch.float32)
        # voxel -> mm, turn, zoom, mirror, mm -> voxel
        turn = torch.as_tensor(draw.matrix, dtype=torch.float32, device=device)
        matrix = turn * spacing[None, :] / spacing[:, None]
        lines = [
            torch.arange(n, dtype=torch.float32, device=device) - (n - 1) / 2 for n in self.patch
        ]
        offset = torch.stack(torch.meshgrid(*lines, indexing="ij"), -1) @ matrix.T
        if draw.deforms and self.config.elastic_voxels > 0:
            coarse = [max(2, round(n / self.config.elastic_every) + 1) for n in self.patch]
            field = torch.randn(1, dims, *coarse, generator=generator, device=device)
            offset = offset + self.config.elastic_voxels * _enlarge(field, self.patch)[0].movedim(
                0, -1
            )
        halves = torch.tensor([max(n - 1, 1) / 2 for n in source], device=device)
        return (offset / halves).flip(-1)


@dataclass(frozen=True)
class _Draws:
    """The scalars drawn for one patch."""

    deforms: bool
    matrix: np.ndarray
    flips: tuple[int, ...]
    chances: dict[str, bool]
    amounts: dict[str, float]

    @classmethod
    def take(cls, augment: Augment, rng: np.random.Generator, left_right: int | None) -> _Draws:
        config, dims = augment.config, len(augment.patch)
        mirrors = mirrored_axes(config.mirror_axes, augment.axes, left_right, augment.labels)
        deforms = bool(rng.random() < config.spatial)
        angles = np.radians(rng.uniform(-config.rotate_degrees, config.rotate_degrees, 3))
        low, high = np.log(config.scale)
        zoom = np.exp(rng.uniform(low, high, dims))
        coins = rng.random(dims)
        flips = tuple(-1 if i in mirrors and coins[i] < 0.5 else 1 for i in range(dims))
        matrix = np.diag(np.array(flips, dtype=float))
        if deforms:
            matrix = matrix @ _rotation(angles, dims) @ np.diag(1 / zoom)
        names = ("brightness", "contrast", "gamma", "noise", "blur", "low_resolution", "bias")
        chances = {name: bool(rng.random() < getattr(config, name)) for name in names}
        amounts = {name: float(rng.random()) for name in names}
        return cls(deforms, matrix, flips, chances, amounts)


def _rotation(angles: np.ndarray, dims: int) -> np.ndarray:
    if dims == 2:
        c, s = np.cos(angles[0]), np.sin(angles[0])
        return np.array([[c, -s], [s, c]])
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [a for a in range(3) if a != axis]
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


def _generator(seed: int, index: int, device: torch.device) -> torch.Generator:
    mixed = int(np.random.SeedSequence([seed, index, 2]).generate_state(1, np.uint64)[0] >> 1)
    return torch.Generator(device).manual_seed(mixed)


def _class_swap(labels: LabelTable) -> Tensor:
    """Table over class index + 1 (0 = not scored) that swaps the two sides of each pair."""
    table = torch.arange(len(labels.values) + 2)
    for a, b in labels.mirror_pairing() or ():
        i, j = labels.values.index(a) + 2, labels.values.index(b) + 2
        table[i], table[j] = j, i
    return table


def _enlarge(field: Tensor, shape: Sequence[int]) -> Tensor:
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    return F.interpolate(field, size=tuple(shape), mode=mode, align_corners=True)


def _sample(image: Tensor, grid: Tensor, *, border: bool) -> Tensor:
    padding = "border" if border else "zeros"
    return F.grid_sample(image, grid, mode="bilinear", padding_mode=padding, align_corners=True)


def _sample_classes(classes: Tensor, grid: Tensor) -> Tensor:
    """Each class interpolated, the strongest wins; nothing there means not scored (-1)."""
    present = [int(value) for value in torch.unique(classes) if value >= 0]
    best = torch.full(grid.shape[:-1], 1e-6, device=grid.device)
    result = torch.full(grid.shape[:-1], -1, dtype=torch.long, device=grid.device)
    best = torch.maximum(best, _sample((classes == -1)[:, None].float(), grid, border=False)[:, 0])
    for start in range(0, len(present), _CHANNELS_AT_ONCE):
        chosen = torch.tensor(present[start : start + _CHANNELS_AT_ONCE], device=classes.device)
        shares = _sample(
            (classes[:, None] == chosen.view(1, -1, *[1] * (classes.ndim - 1))).float(),
            grid,
            border=False,
        )
        top, which = shares.max(1)
        better = top > best
        result = torch.where(better, chosen[which], result)
        best = torch.maximum(best, top)
    return result


def _change_intensity(image: Tensor, draw: _Draws, generator: torch.Generator) -> Tensor:
    """One patch (C, *spatial); ranges follow doi:10.1038/s41592-020-01008-z where it gives them."""
    happens, amount = draw.chances, draw.amounts
    spread = image.std() + 1e-6
    if happens["noise"]:
        noise = torch.randn(image.shape, generator=generator, device=image.device)
        image = image + noise * spread * 0.15 * amount["noise"]
    if happens["blur"]:
        image = _blur(image, 0.4 + 0.7 * amount["blur"])
    if happens["bias"]:
        coarse = torch.randn(
            1, 1, *[3] * (image.ndim - 1), generator=generator, device=image.device
        )
        low = image.min()
        image = (image - low) * torch.exp(
            0.25 * amount["bias"] * _enlarge(coarse, image.shape[1:])[0]
        ) + low
    if happens["brightness"]:
        image = image * (0.75 + 0.5 * amount["brightness"])
    if happens["contrast"]:
        mean = image.mean()
        image = ((image - mean) * (0.65 + 0.85 * amount["contrast"]) + mean).clamp(
            image.min(), image.max()
        )
    if happens["low_resolution"]:
        image = _coarsen(image, 1 + amount["low_resolution"])
    if happens["gamma"]:
        image = _gamma(image, 0.7 * (1.5 / 0.7) ** amount["gamma"])
    return image


def _blur(image: Tensor, sigma: float) -> Tensor:
    radius = max(1, math.ceil(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    for axis in range(1, image.ndim):
        lines = image.movedim(axis, -1)
        padded = F.pad(lines.reshape(-1, 1, lines.shape[-1]), (radius, radius), mode="replicate")
        smooth = F.conv1d(padded, kernel.view(1, 1, -1))
        image = smooth.reshape(lines.shape).movedim(-1, axis)
    return image


def _coarsen(image: Tensor, factor: float) -> Tensor:
    small = [max(1, round(n / factor)) for n in image.shape[1:]]
    coarse = F.interpolate(image[None], size=small, mode="nearest-exact")
    mode = "bilinear" if image.ndim == 3 else "trilinear"
    return F.interpolate(coarse, size=image.shape[1:], mode=mode, align_corners=False)[0]


def _gamma(image: Tensor, gamma: float) -> Tensor:
    """Power law between the patch's own extremes, mean and spread kept."""
    low, high = image.min(), image.max()
    mean, spread = image.mean(), image.std()
    bent = ((image - low) / (high - low).clamp(min=1e-6)) ** gamma
    return (bent - bent.mean()) / (bent.std() + 1e-6) * spread + mean
