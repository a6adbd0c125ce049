"""Masks as layers of a picture, and their colours.

Truth and prediction have one colour each (Okabe & Ito's, which colour-blind readers tell
apart) and one line style each, so that the picture survives a grey printer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from numpy.typing import NDArray

#: Okabe & Ito's palette, black left out: https://jfly.uni-koeln.de/color/
PALETTE = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#0072b2", "#999999")

TRUTH_COLOUR, PREDICTION_COLOUR = PALETTE[0], PALETTE[1]


class Drawing(StrEnum):
    """How a mask is drawn over the scan."""

    CONTOUR = "contour"
    FILL = "fill"


@dataclass(frozen=True, eq=False)
class Layer:
    """A mask and how it is drawn.

    Attributes:
        name: in the legend.
        mask: (X, Y, Z) integers on the scan's array; every value but 0 is drawn.
        colours: one for all values, or by value.
        drawing: contour or half transparent fill.
        dashed: contours only.
    """

    name: str
    mask: NDArray[Any]
    colours: str | Mapping[int, str]
    drawing: Drawing = Drawing.CONTOUR
    dashed: bool = False

    def colour_of(self, value: int) -> str:
        """The colour of a value."""
        if isinstance(self.colours, str):
            return self.colours
        return self.colours.get(value, PALETTE[(value - 1) % len(PALETTE)])


def truth_layer(mask: NDArray[Any]) -> Layer:
    """The truth as everyone draws it here: a solid line."""
    return Layer("truth", mask, TRUTH_COLOUR)


def prediction_layer(mask: NDArray[Any]) -> Layer:
    """The prediction as everyone draws it here: a dashed line over the truth's."""
    return Layer("prediction", mask, PREDICTION_COLOUR, dashed=True)
