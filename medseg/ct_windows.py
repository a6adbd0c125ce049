"""Windows of CT, in HU, and the one that suits what is looked at."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Name -> HU shown black and white.
WINDOWS: dict[str, tuple[float, float]] = {
    "soft tissue": (-160.0, 240.0),
    "lung": (-1350.0, 150.0),
    "bone": (-450.0, 1050.0),
    "brain": (0.0, 80.0),
    "liver": (-45.0, 105.0),
    "vessels": (-100.0, 500.0),
}

#: Words in the names of labels, as beginnings, that ask for a window other than soft tissue.
_WORDS = {
    "lung": ("lung", "airway", "bronch", "trachea", "nodule", "emphys", "covid", "ggo"),
    "bone": (
        "bone",
        "vertebra",
        "rib",
        "spine",
        "skull",
        "femur",
        "pelvis",
        "sacrum",
        "hip",
        "scapula",
        "clavic",
        "humerus",
        "mandible",
        "stern",
        "tibia",
        "fibula",
        "tooth",
        "teeth",
    ),
    "brain": ("brain", "hemorrhage", "haemorrhage", "hematoma", "haematoma", "infarct"),
    "liver": ("liver", "hepatic"),
    "vessels": ("aorta", "arter", "vein", "vena", "vessel", "coronar"),
}


def window_for(names: Iterable[str]) -> str:
    """The window that most labels ask for; soft tissue where they do not agree.

    Args:
        names: of the labels.

    >>> window_for(["lung left", "lung right"]), window_for(["liver", "spleen", "kidney left"])
    ('lung', 'soft tissue')
    """
    votes = [_window_of(name) for name in names]
    counts = {window: votes.count(window) for window in votes}
    best = max(counts, key=lambda window: counts[window], default="soft tissue")
    return best if counts and counts[best] * 2 > len(votes) else "soft tissue"


def _window_of(name: str) -> str:
    words = re.findall(r"[a-z]+", name.lower())
    for window, beginnings in _WORDS.items():
        if any(word.startswith(beginnings) for word in words):
            return window
    return "soft tissue"
