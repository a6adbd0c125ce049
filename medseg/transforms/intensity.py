"""Random changes of intensity, each made to all patches of a batch that it happens to at once.

Ranges follow doi:10.1038/s41592-020-01008-z where it gives them. No value is read back from the
device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medseg.transforms.draws import KINDS, Draws

#: Voxels to each side that the widest blur reaches: three standard deviations of 1.1 voxels.
_BLUR_REACH = 4

#: Standard deviations of blurs in voxels: the least, and what is added at most.
_BLUR = (0.4, 0.7)


def change_intensity(image: Tensor, draws: Draws, seed: int, index: Sequence[int]) -> Tensor:
    """Change the intensities of a batch in place.

    Args:
        image: (B, C, *spatial) float32.
        draws: what happens to which patch.
        seed: of the run.
        index: number of each patch in the run; noise is drawn on the device by a generator
            seeded from both, so that it differs between a CPU and a GPU.
    """
    changes: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "noise": lambda part, amount: _add_noise(
            part, amount, seed, [index[row] for row in draws.hosts["noise"]]
        ),
        "blur": lambda part, amount: _blur(part, _BLUR[0] + _BLUR[1] * amount),
        "bias": lambda part, amount: _shade(part, amount, draws.bias),
        "brightness": lambda part, amount: part * (0.75 + 0.5 * amount),
        "contrast": _contrast,
        "low_resolution": lambda part, amount: _coarsen(part, draws.lines),
        "gamma": lambda part, amount: _gamma(part, 0.7 * (1.5 / 0.7) ** amount),
    }
    for kind in KINDS:
        if kind not in draws.rows:
            continue
        rows, amount = draws.rows[kind], _spread_out(draws.amounts[kind], image)
        if len(rows) == len(image):
            image = changes[kind](image, amount)
        else:
            image.index_copy_(0, rows, changes[kind](image.index_select(0, rows), amount))
    return image


def _spread_out(each: Tensor, like: Tensor) -> Tensor:
    """One number a patch, ready to meet its voxels."""
    return each.view(-1, *[1] * (like.ndim - 1))


def _extremes(image: Tensor) -> tuple[Tensor, Tensor]:
    axes = tuple(range(1, image.ndim))
    return image.amin(axes, keepdim=True), image.amax(axes, keepdim=True)


def _mean_and_spread(image: Tensor) -> tuple[Tensor, Tensor]:
    axes = tuple(range(1, image.ndim))
    return image.mean(axes, keepdim=True), image.std(axes, keepdim=True)


def _add_noise(image: Tensor, amount: Tensor, seed: int, index: Sequence[int]) -> Tensor:
    noise = torch.empty_like(image)
    for row, number in zip(noise, index, strict=True):
        mixed = np.random.SeedSequence([seed, number, 2]).generate_state(1, np.uint64)[0]
        row.normal_(generator=torch.Generator(image.device).manual_seed(int(mixed >> 1)))
    spread = _mean_and_spread(image)[1] + 1e-6
    return torch.addcmul(image, noise, spread * 0.15 * amount)


def _blur(image: Tensor, sigma: Tensor) -> Tensor:
    """A Gaussian along each axis, cut off where the widest of them ends."""
    reach = torch.arange(-_BLUR_REACH, _BLUR_REACH + 1, dtype=image.dtype, device=image.device)
    weights = torch.exp(-0.5 * (reach / sigma.flatten()[:, None]) ** 2)
    weights = weights / weights.sum(1, keepdim=True)
    batch, channels = image.shape[:2]
    per_patch = weights.repeat_interleave(channels, 0)
    for axis in range(2, image.ndim):
        lines = image.movedim(axis, -1)
        flat = lines.reshape(batch * channels, -1, lines.shape[-1])
        padded = F.pad(flat, (_BLUR_REACH, _BLUR_REACH), mode="replicate")
        smooth = sum(
            padded.narrow(-1, tap, lines.shape[-1]) * per_patch[:, tap, None, None]
            for tap in range(2 * _BLUR_REACH + 1)
        )
        image = torch.as_tensor(smooth).view(lines.shape).movedim(-1, axis)
    return image


def _shade(image: Tensor, amount: Tensor, points: Tensor | None) -> Tensor:
    """Multiply what lies above the least value by a slow field about 1."""
    if points is None:
        raise ValueError("a bias field needs its control points")
    low = _extremes(image)[0]
    field = enlarge(points, image.shape[2:])
    return (image - low) * torch.exp(0.25 * amount * field) + low


def _contrast(image: Tensor, amount: Tensor) -> Tensor:
    low, high = _extremes(image)
    mean = image.mean(tuple(range(1, image.ndim)), keepdim=True)
    return ((image - mean) * (0.65 + 0.85 * amount) + mean).clamp(low, high)


def _coarsen(image: Tensor, lines: Sequence[Tensor]) -> Tensor:
    for axis, line in enumerate(lines, start=2):
        shape = [len(image), *[1] * (image.ndim - 1)]
        shape[axis] = image.shape[axis]
        low, high = (
            image.gather(axis, line[:, end].long().view(shape).expand_as(image)) for end in (0, 1)
        )
        image = torch.lerp(low, high, line[:, 2].view(shape).expand_as(image))
    return image


def _gamma(image: Tensor, gamma: Tensor) -> Tensor:
    """Power law between the patch's own extremes, mean and spread kept."""
    low, high = _extremes(image)
    mean, spread = _mean_and_spread(image)
    bent = ((image - low) / (high - low).clamp(min=1e-6)) ** gamma
    bent_mean, bent_spread = _mean_and_spread(bent)
    return (bent - bent_mean) / (bent_spread + 1e-6) * spread + mean


def enlarge(field: Tensor, shape: Sequence[int]) -> Tensor:
    """(B, C, *coarse) control points to (B, C, *shape); the outer ones sit on the outer voxels."""
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    return F.interpolate(field, size=tuple(shape), mode=mode, align_corners=True)
