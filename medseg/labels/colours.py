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
    """Value to ``#rrggbb``: a colour too near to an earlier label's gives way to a farther one.

    >>> table = LabelTable.from_card({"labels": {
    ...     "kidney left": {"value": 1, "colour": "#b98745"},
    ...     "kidney right": {"value": 2, "colour": "#b98745"}}})
    >>> len(set(distinct_colours(table).values()))
    2
    """
    strong = _hues(0.8, (0.55, 0.72))
    candidates = strong + _hues(0.5, (0.45, 0.62, 0.8)) + _hues(1.0, (0.5, 0.64, 0.85))
    colours = np.array([rgb_of(colour) for colour in candidates], dtype=np.float64)
    chosen: dict[int, str] = {}
    far = np.full(len(candidates), np.inf)  # of each candidate from the nearest colour taken
    taken = np.empty((0, 3))
    for label in labels.labels:
        colour = label.colour
        near = _distances(taken, colour).min(initial=np.inf)
        if near < LEAST_DISTANCE:
            best = int(far[: len(strong)].argmax())
            if far[best] < LEAST_DISTANCE / 2:
                best = int(far.argmax())
            colour = candidates[best] if far[best] > near else colour
        chosen[label.value] = colour
        taken = np.vstack([taken, rgb_of(colour)])
        far = np.minimum(far, _distances(colours, colour))
    return chosen


def _hues(saturation: float, lightnesses: tuple[float, ...]) -> list[str]:
    """24 hues in each lightness, all of them visible on grey."""
    return [
        "#"
        + "".join(
            f"{round(255 * part):02x}"
            for part in colorsys.hls_to_rgb(hue / 24, lightness, saturation)
        )
        for lightness in lightnesses
        for hue in range(24)
    ]


def _distances(colours: NDArray[np.float64], other: str) -> NDArray[np.float64]:
    apart = np.linalg.norm(colours - np.array(rgb_of(other)), axis=1)
    return np.asarray(apart, dtype=np.float64)
