"""Colours of labels on the screen: those of the table, told apart where two are the same."""

from __future__ import annotations

import colorsys

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
    chosen: dict[int, str] = {}
    for label in labels.labels:
        taken = [_rgb(colour) for colour in chosen.values()]
        colour = label.colour
        if _nearest(_rgb(colour), taken) < LEAST_DISTANCE:
            colour = max(_candidates(), key=lambda c: _nearest(_rgb(c), taken))
        chosen[label.value] = colour
    return chosen


def _candidates() -> list[str]:
    """Strong hues in two lightnesses, all of them visible on grey."""
    return [
        "#"
        + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue / 24, light, 0.8))
        for light in (0.55, 0.72)
        for hue in range(24)
    ]


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return red, green, blue


def _nearest(colour: tuple[int, int, int], others: list[tuple[int, int, int]]) -> float:
    distances = [
        sum((a - b) ** 2 for a, b in zip(colour, other, strict=True)) ** 0.5 for other in others
    ]
    return min(distances, default=442.0)
