"""Hausdorff, average and surface-Dice figures, drawn from surface distances.

Both masks hold something wherever these are called; where ignored voxels hide one of the
surfaces, distances are undefined (NaN). Departures from MONAI: MONAI's HD95 and NSD count
boundary voxels, each with the same weight, and NSD's default uses no areas; here surfels are
weighted with their area.
"""

from __future__ import annotations

from math import nan

from medseg.metrics.pair import Pair


def hd(pair: Pair) -> float:
    """Hausdorff distance: the largest distance either way, in mm (doi:10.1109/34.232073)."""
    surfaces = pair.surfaces
    if not surfaces.seen:
        return nan
    return float(max(surfaces.from_truth.mm[-1], surfaces.from_prediction.mm[-1]))


def hd95(pair: Pair) -> float:
    """The larger of the two directed 95th percentiles by surface area, in mm."""
    surfaces = pair.surfaces
    if not surfaces.seen:
        return nan
    return max(surfaces.from_truth.percentile(95), surfaces.from_prediction.percentile(95))


def assd(pair: Pair) -> float:
    """Average distance over the area of both surfaces together, in mm."""
    if not pair.surfaces.seen:
        return nan
    one, other = pair.surfaces.from_truth, pair.surfaces.from_prediction
    return float(one.mm @ one.mm2 + other.mm @ other.mm2) / (one.area_mm2 + other.area_mm2)


def nsd(pair: Pair) -> float:
    """Normalised surface distance (surface Dice): share of both surfaces within tolerance."""
    one, other = pair.surfaces.from_truth, pair.surfaces.from_prediction
    area_mm2 = one.area_mm2 + other.area_mm2
    if area_mm2 == 0:  # both surfaces are hidden by ignored voxels
        return nan
    within = one.area_within(pair.tolerance_mm) + other.area_within(pair.tolerance_mm)
    return within / area_mm2
