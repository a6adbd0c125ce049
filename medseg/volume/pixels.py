"""What the pixels of a scan say of it: its identity, and how bright it is."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.volume.scan import Volume


def pixel_hash(volume: Volume) -> str:
    """SHA-256 of the real-world values in canonical order: the identity of a scan's pixels.

    The same scan gives the same hash under another name, format, dtype or storage order;
    it keeps a scan that trained a model from being scored as if it were new.
    """
    digest = hashlib.sha256()
    for channel in volume.values():
        canonical = volume.geometry.canonical(channel)
        digest.update(repr(canonical.shape).encode())
        for plane in canonical:
            digest.update(np.ascontiguousarray(plane).tobytes())
    return digest.hexdigest()


def is_blank(volume: Volume) -> bool:
    """Whether all voxels of each channel have one value, so that a scan shows nothing.

    Two such scans are no copies of one another.
    """
    return all(bool((channel == channel.flat[0]).all()) for channel in volume.data)


def intensity_percentiles(volume: Volume) -> tuple[tuple[float, float, float], ...]:
    """0.5, 50 and 99.5 percentile of real-world values, a row a channel.

    Taken over a regular grid of at most some 100,000 voxels; zeros where no value is finite.
    """
    return tuple(_percentiles(channel, volume) for channel in volume.data)


def _percentiles(channel: NDArray[Any], volume: Volume) -> tuple[float, float, float]:
    step = max(1, round((channel.size / 100_000) ** (1 / 3)))
    sample = channel[::step, ::step, ::step].astype(np.float64)
    values = sample * volume.slope + volume.intercept
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 0.0, 0.0
    low, middle, high = np.percentile(values, [0.5, 50, 99.5])
    return float(low), float(middle), float(high)
