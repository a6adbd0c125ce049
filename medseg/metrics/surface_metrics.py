"""Which figures are drawn from surface distances?

Both masks hold something wherever these are called. Departures from MONAI: MONAI's HD95 and
NSD count boundary voxels, each with the same weight, and NSD's default uses no areas; here
surfels are weighted with their area.
"""

from __future__ import annotations

from medseg.metrics.pair import Pair


def hd(pair: Pair) -> float:
    """Hausdorff distance: the largest distance either way, in mm (doi:10.1109/34.232073)."""
    surfaces = pair.surfaces
    return float(max(surfaces.from_truth.mm[-1], surfaces.from_prediction.mm[-1]))


def hd95(pair: Pair) -> float:
    """The larger of the two directed 95th percentiles by surface area, in mm."""
    surfaces = pair.surfaces
    return max(surfaces.from_truth.percentile(95), surfaces.from_prediction.percentile(95))


def assd(pair: Pair) -> float:
    """Average distance over the area of both surfaces together, in mm."""
    one, other = pair.surfaces.from_truth, pair.surfaces.from_prediction
    return float(one.mm @ one.mm2 + other.mm @ other.mm2) / (one.area_mm2 + other.area_mm2)


def nsd(pair: Pair) -> float:
    """Normalised surface distance (surface Dice): share of both surfaces within tolerance."""
    one, other = pair.surfaces.from_truth, pair.surfaces.from_prediction
    within = one.area_within(pair.tolerance_mm) + other.area_within(pair.tolerance_mm)
    return within / (one.area_mm2 + other.area_mm2)
