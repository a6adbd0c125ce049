"""How large a network a plan begins with: the presets of ``medseg plan --preset``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """How large a network to begin with.

    Attributes:
        network: its name.
        first, most: features of the finest level, and of any.
        deepest: levels at most.
        batch: patches a step in 3D.
        minutes: of training where none are given.
        about: what it is for, and what has been measured of it.
        fitted: whether levels and features follow the patch, or are the network's own.
    """

    network: str
    first: int
    most: int
    deepest: int
    batch: int
    minutes: float
    about: str
    fitted: bool = True


PRESETS: dict[str, Preset] = {
    "fast": Preset(
        "unet",
        16,
        128,
        5,
        2,
        10.0,
        "a small U-Net for minutes on a CPU; measured on the hippocampus (README)",
    ),
    "residual": Preset(
        "residual_unet",
        16,
        128,
        5,
        2,
        10.0,
        "fast with a residual encoder; in four minutes on a CPU it found less (README)",
    ),
    "fcn8s": Preset(
        "fcn8s",
        16,
        128,
        5,
        2,
        10.0,
        "the baseline: all as in fast but the network; measured on the hippocampus (README)",
        fitted=False,
    ),
    "standard": Preset(
        "unet",
        32,
        320,
        6,
        2,
        240.0,
        "the U-Net of the literature for hours on a GPU or a night on a CPU; not measured yet",
    ),
    "accurate": Preset(
        "residual_unet",
        32,
        320,
        6,
        2,
        1440.0,
        "a residual encoder for a day on a GPU; not measured yet: trust it no further than that",
    ),
}
