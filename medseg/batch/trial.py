"""The time of one window on this machine, taken where the model is loaded anyway."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from medseg.geometry import Geometry
from medseg.model import Model
from medseg.volume import Volume


@dataclass(frozen=True)
class Trial:
    """A made-up scan of the size of one window.

    Attributes:
        shape: (C, X, Y, Z).
        spacing_mm: of the model's working grid.
    """

    shape: tuple[int, int, int, int]
    spacing_mm: tuple[float, float, float]

    def seconds(self, segment: Callable[[Callable[[], Volume]], object]) -> float:
        """Time to segment it, on the second call."""
        noise = np.random.default_rng(0).normal(size=self.shape).astype(np.float32)
        volume = Volume(noise, Geometry(self.shape[1:], np.diag([*self.spacing_mm, 1.0])))
        segment(lambda: volume)
        started = time.monotonic()
        segment(lambda: volume)
        return time.monotonic() - started


def trial_of(model: Model) -> Trial | None:
    """One window of the model; ``None`` where its card leaves the window open."""
    sizes = list(model.infer.window)
    if model.dims == 2 and model.slice_axis is not None:
        sizes.insert(model.slice_axis, 1)
    if len(sizes) != 3:
        return None
    first, second, through = (mm or 1.0 for mm in model.prepare.spacing_mm)
    channels = len(model.card.channels)
    return Trial((channels, sizes[0], sizes[1], sizes[2]), (first, second, through))
