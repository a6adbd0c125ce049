"""A scan and a mask in memory: an array beside its Geometry."""

from medseg.volume.gridded import Gridded
from medseg.volume.labelmap import LabelMap
from medseg.volume.origin import NAMED_SPACES, NiftiForms, Origin, SourceFiles
from medseg.volume.pixels import intensity_percentiles, is_blank, pixel_hash
from medseg.volume.scan import Measure, Volume, stored_zero

__all__ = [
    "NAMED_SPACES",
    "Gridded",
    "LabelMap",
    "Measure",
    "NiftiForms",
    "Origin",
    "SourceFiles",
    "Volume",
    "intensity_percentiles",
    "is_blank",
    "pixel_hash",
    "stored_zero",
]
