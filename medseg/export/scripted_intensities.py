"""Padding and normalisation of a scan's values, as functions that TorchScript compiles."""

import math

import torch
from torch import Tensor

#: Kinds of normalisation, as numbers that TorchScript compares.
ZSCORE, NONZERO, WINDOW, PERCENTILES, NOTHING = range(5)


def measured(values: Tensor, padding: list[float]) -> Tensor:
    """Padding, an extreme value that stands alone, becomes the lowest measured value.

    Args:
        values: of any shape.
        padding: limits by which padding is recognised, as in :mod:`medseg.volume`.
    """
    low, high = float(values.min()), float(values.max())
    if low <= padding[0]:
        inner = values[values > low + 0.5]
        if inner.numel() > 0 and float(inner.min()) - low > padding[1]:
            return torch.where((values - low).abs() < 0.5, inner.min(), values)
    if high >= padding[2]:
        inner = values[values < high - 0.5]
        second = float(inner.max()) if inner.numel() > 0 else low
        if inner.numel() > 0 and high - second > 4 * max(second - low, 1.0):
            return torch.where((values - high).abs() < 0.5, inner.min(), values)
    return values


def normalised(image: Tensor, rules: Tensor) -> Tensor:
    """Each channel of (C, X, Y, Z) by its rule.

    Args:
        image: (C, X, Y, Z) values.
        rules: (rules, 5) kind of normalisation, low, high, mean, standard deviation; one for all
            channels, or one a channel.
    """
    parts: list[Tensor] = []
    for channel in range(image.shape[0]):
        values = image[channel]
        rule = rules[channel if rules.shape[0] > 1 else 0]
        kind, low, high = int(rule[0]), float(rule[1]), float(rule[2])
        least, most = float(values.min()), float(values.max())
        constant = most - least <= 1e-5 * max(-least, most)
        if kind != 2 and kind != 4 and constant:
            values = torch.zeros_like(values)
        elif kind == 0:
            values = (values - values.mean()) / values.std(unbiased=False)
        elif kind == 1:
            nonzero = values != 0
            signal = values[nonzero]
            values = torch.where(
                nonzero, (values - signal.mean()) / signal.std(unbiased=False), values
            )
        elif kind == 2:
            values = (values.clamp(low, high) - float(rule[3])) / float(rule[4])
        elif kind == 3:
            ranked = torch.sort(values.flatten())[0].double()
            ends = [low / 100 * (len(ranked) - 1), high / 100 * (len(ranked) - 1)]
            bounds: list[float] = []
            for end in ends:
                below = math.floor(end)
                above = min(below + 1, len(ranked) - 1)
                first, second = float(ranked[below]), float(ranked[above])
                bounds.append(first + (end - below) * (second - first))
            spread = bounds[1] - bounds[0]
            values = ((values - bounds[0]) / (spread if spread > 0 else 1.0)).clamp(0, 1)
        parts.append(values)
    return torch.stack(parts)
