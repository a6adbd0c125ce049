"""Segments a scan within a stated memory: windows in, mask out, a block at a time."""

from medseg.inference.budget import Allowance
from medseg.inference.engine import Engine
from medseg.inference.keeping import Keeping
from medseg.inference.locate import Locator
from medseg.inference.segment import Segmenter, segment
from medseg.inference.segmentation import Segmentation, volumes_ml

__all__ = [
    "Allowance",
    "Engine",
    "Keeping",
    "Locator",
    "Segmentation",
    "Segmenter",
    "segment",
    "volumes_ml",
]
