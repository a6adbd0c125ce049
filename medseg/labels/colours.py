"""Colours of labels on the screen: those of the table, made different where two are the same."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray

from medseg.labels.label import rgb_of
from medseg.labels.table import LabelTable

#: Colours closer than this in RGB (0-441) are hard to tell apart on a scan.
LEAST_DISTANCE = 60.0


def distinct_colours(labels: LabelTable) -> dict[int, str]:
    """Value to ``#rrggbb``: a colour too near to an earlier label's is replaced.

    >>> table = LabelTable.from_card({"labels": {
    ...     "kidney left": {"value": 1, "colour": "#b98745"},
    ...     "kidney right": {"value": 2, "colour": "#b98745"}}})
    >>> len(set(distinct_colours(table).values()))
    2
    """
    candidates = _candidates()
    strong = np.array([rgb_of(colour) for colour in candidates], dtype=np.float64)
    chosen: dict[int, str] = {}
    far = np.full(len(candidates), np.inf)  # of each candidate from the nearest colour taken
    taken = np.empty((0, 3))
    for label in labels.labels:
        colour = label.colour
        if _distances(taken, colour).min(initial=np.inf) < LEAST_DISTANCE:
            colour = candidates[int(far.argmax())]
        chosen[label.value] = colour
        taken = np.vstack([taken, rgb_of(colour)])
        far = np.minimum(far, _distances(strong, colour))
    return chosen


def _candidates() -> list[str]:
    """Strong hues in two lightnesses, all of them visible on grey."""
    return [
        "#"
        + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue / 24, light, 0.8))
        for light in (0.55, 0.72)
        for hue in range(24)
    ]


def _distances(colours: NDArray[np.float64], other: str) -> NDArray[np.float64]:
    apart = np.linalg.norm(colours - np.array(rgb_of(other)), axis=1)
    return np.asarray(apart, dtype=np.float64)
