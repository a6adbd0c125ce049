"""Normalise intensities by one rule a channel, through MONAI's transforms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.data import MetaTensor
from monai.transforms import (
    NormalizeIntensity,
    ScaleIntensityRange,
    ScaleIntensityRangePercentiles,
    Transform,
)

from medseg.config import Normalise, NormalisePercentiles, NormaliseWindow, NormaliseZScore
from medseg.errors import BadConfig

#: A channel whose values differ by less than this share is constant: resampling rounds.
ROUNDING = 1e-5


class NormaliseChannels(Transform):
    """Apply one rule to each channel of a (C, X, Y, Z) MetaTensor, or one rule to all.

    A constant channel becomes zeros, except under a window, which knows what its value means.

    Raises:
        BadConfig: the rules are neither one nor one a channel.
    """

    def __init__(self, rules: Sequence[Normalise]) -> None:
        self.rules = tuple(rules)

    def __call__(self, image: MetaTensor) -> MetaTensor:
        """Normalise a copy."""
        channels = image.shape[0]
        if len(self.rules) not in (1, channels):
            raise BadConfig(
                "prepare.normalise does not fit the channels",
                found=len(self.rules),
                expected=f"1 rule or {channels}, one a channel",
            )
        rules = self.rules if len(self.rules) == channels else self.rules * channels
        values = image.as_tensor().float()
        parts = [_normalised(values[c : c + 1], rule) for c, rule in enumerate(rules)]
        joined = parts[0] if channels == 1 else torch.cat(parts)  # one copy less of a large scan
        return MetaTensor(joined, meta=image.meta)


def _normalised(channel: torch.Tensor, rule: Normalise) -> torch.Tensor:
    low, high = float(channel.min()), float(channel.max())
    if not isinstance(rule, NormaliseWindow) and high - low <= ROUNDING * max(-low, high):
        return torch.zeros_like(channel)
    # a copy, for some of MONAI's transforms write into what they are given
    return torch.as_tensor(_monai_rule(rule)(channel.clone())).float()


def _monai_rule(rule: Normalise) -> Transform:
    match rule:
        case NormaliseZScore():
            return NormalizeIntensity(nonzero=rule.nonzero)
        case NormaliseWindow():
            centre = rule.mean if rule.mean is not None else (rule.low + rule.high) / 2
            scale = rule.sd if rule.sd is not None else (rule.high - rule.low) / 2
            return ScaleIntensityRange(
                rule.low,
                rule.high,
                (rule.low - centre) / scale,
                (rule.high - centre) / scale,
                clip=True,
            )
        case NormalisePercentiles():
            return ScaleIntensityRangePercentiles(rule.low, rule.high, 0.0, 1.0, clip=True)
