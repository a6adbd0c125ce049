"""One scan, one picture: three planes through a structure with its outline."""

from __future__ import annotations

from medseg.pictures.drawing import Picture, picture, png_bytes
from medseg.pictures.layers import (
    PALETTE,
    PREDICTION_COLOUR,
    TRUTH_COLOUR,
    Drawing,
    Layer,
    prediction_layer,
    truth_layer,
)
from medseg.pictures.planes import PLANES, Plane

__all__ = [
    "PALETTE",
    "PLANES",
    "PREDICTION_COLOUR",
    "TRUTH_COLOUR",
    "Drawing",
    "Layer",
    "Picture",
    "Plane",
    "picture",
    "png_bytes",
    "prediction_layer",
    "truth_layer",
]
