"""How is a scan segmented within a stated memory?  Windows in, mask out, a block at a time."""

from medseg.inference.segment import Segmentation, Segmenter, segment, volumes_ml

__all__ = ["Segmentation", "Segmenter", "segment", "volumes_ml"]
