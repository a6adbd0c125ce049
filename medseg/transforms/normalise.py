"""Normalise intensities by one rule a channel, on whatever device the image is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from medseg.config import (
    Normalise,
    NormaliseInside,
    NormaliseNothing,
    NormalisePercentiles,
    NormaliseWindow,
    NormaliseZScore,
)
from medseg.errors import BadConfig

#: A channel whose values differ by less than this share is constant: resampling rounds.
ROUNDING = 1e-5


def normalise(image: torch.Tensor, rules: Sequence[Normalise]) -> torch.Tensor:
    """Apply one rule to each channel, or one rule to all; a copy.

    A constant channel becomes zeros, except under a window, which knows what its value means.

    Args:
        image: (C, X, Y, Z) real-world values.
        rules: one, or one per channel.

    Returns:
        (C, X, Y, Z) float32.

    Raises:
        BadConfig: the rules are neither one nor one per channel.

    >>> hu = torch.tensor([-1000.0, -160.0, 40.0, 140.0, 3000.0]).reshape(1, 5, 1, 1)
    >>> normalise(hu, [NormaliseWindow(low=-160, high=240)]).flatten().tolist()
    [-1.0, -1.0, 0.0, 0.5, 1.0]
    """
    channels = image.shape[0]
    if len(rules) not in (1, channels):
        raise BadConfig(
            "prepare.normalise does not fit the channels",
            found=len(rules),
            expected=f"1 rule or {channels}, one per channel",
        )
    result = image.to(torch.float32, copy=True)
    every = rules if len(rules) == channels else [rules[0]] * channels
    inside = _inside(image) if any(isinstance(rule, NormaliseInside) for rule in every) else None
    for channel, rule in zip(result, every, strict=True):
        if isinstance(rule, NormaliseInside):
            _standardise(channel, inside)
        elif not isinstance(rule, NormaliseNothing):
            _normalise(channel, rule)
    return result


def _inside(image: torch.Tensor) -> torch.Tensor:
    """(X, Y, Z) whether a voxel is not 0 in some channel, or enclosed by such voxels."""
    from scipy import ndimage

    filled = ndimage.binary_fill_holes((image != 0).any(0).cpu().numpy())
    return torch.from_numpy(np.asarray(filled)).to(image.device)


def _normalise(
    channel: torch.Tensor, rule: NormaliseZScore | NormaliseWindow | NormalisePercentiles
) -> None:
    """Change one (X, Y, Z) channel in place."""
    low, high = (float(end) for end in channel.aminmax())
    if not isinstance(rule, NormaliseWindow) and high - low <= ROUNDING * max(-low, high):
        channel.zero_()
        return
    match rule:
        case NormaliseZScore():
            _standardise(channel, channel != 0 if rule.nonzero else None)
            if rule.target is not None:
                low, high = (float(end) for end in channel.aminmax())
                _rescale(channel, (low, high), rule.target)
        case NormaliseWindow():
            centre = rule.mean if rule.mean is not None else (rule.low + rule.high) / 2
            scale = rule.sd if rule.sd is not None else (rule.high - rule.low) / 2
            ends = (rule.low - centre) / scale, (rule.high - centre) / scale
            _rescale(channel, (rule.low, rule.high), ends)
        case NormalisePercentiles():
            _rescale(channel, _percentiles(channel, (rule.low, rule.high)), rule.target)


def _standardise(channel: torch.Tensor, seen: torch.Tensor | None) -> None:
    """Mean 0 and standard deviation 1 over the voxels that are seen; the others stay."""
    values = channel if seen is None else channel[seen]
    if not values.numel():
        return
    mean, sd = values.mean(), values.std(unbiased=False)
    sd = torch.where(sd == 0, torch.ones_like(sd), sd)
    if seen is None:
        channel.sub_(mean).div_(sd)
    else:
        channel[seen] = (values - mean) / sd


def _rescale(
    channel: torch.Tensor, source: tuple[float, float], target: tuple[float, float]
) -> None:
    """The range `source` to the range `target`; what lies outside is clipped."""
    (low, high), (first, last) = source, target
    if high == low:
        channel.sub_(low).add_(first)
    else:
        channel.sub_(low).div_(high - low).mul_(last - first).add_(first)
    channel.clamp_(first, last)


def _percentiles(channel: torch.Tensor, wanted: tuple[float, float]) -> tuple[float, float]:
    """Percentiles, interpolated between the two values that lie about each."""
    if channel.device.type == "cpu":
        low, high = np.percentile(channel.numpy(), wanted)
        return float(low), float(high)
    ranked = channel.flatten().sort().values
    position = torch.tensor(wanted, dtype=torch.float64) / 100 * (len(ranked) - 1)
    below = position.floor().long()
    above = (below + 1).clamp_max(len(ranked) - 1)
    first, second = (ranked[at.to(ranked.device)].double().cpu() for at in (below, above))
    low, high = (first + (position - below) * (second - first)).tolist()
    return low, high
