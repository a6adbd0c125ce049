"""Ratios of voxel counts, and volumes.

Both masks hold something wherever these are called; what an empty mask gives is a rule of
the table, not of the formula. Names follow Metrics Reloaded (doi:10.1038/s41592-023-02151-z).
"""

from __future__ import annotations

from medseg.metrics.pair import Pair


def dice(pair: Pair) -> float:
    """2 |T n P| / (|T| + |P|) (Dice 1945, doi:10.2307/1932409)."""
    counts = pair.counts
    return 2 * counts.both / (counts.truth + counts.prediction)


def iou(pair: Pair) -> float:
    """|T n P| / |T u P| (Jaccard 1912, doi:10.1111/j.1469-8137.1912.tb05611.x)."""
    counts = pair.counts
    return counts.both / (counts.both + counts.only_prediction + counts.only_truth)


def sensitivity(pair: Pair) -> float:
    """|T n P| / |T|: the share of the truth that was found."""
    return pair.counts.both / pair.counts.truth


def precision(pair: Pair) -> float:
    """|T n P| / |P|: the share of the prediction that is right (PPV)."""
    return pair.counts.both / pair.counts.prediction


def volume_error_ml(pair: Pair) -> float:
    """Prediction minus truth, in ml; volumes from the determinant of the affine."""
    return (pair.counts.prediction - pair.counts.truth) * pair.voxel_ml


def volume_error_rel(pair: Pair) -> float:
    """(Prediction - truth) / truth."""
    return (pair.counts.prediction - pair.counts.truth) / pair.counts.truth


def truth_ml(pair: Pair) -> float:
    """Volume of the truth, in ml."""
    return pair.counts.truth * pair.voxel_ml


def prediction_ml(pair: Pair) -> float:
    """Volume of the prediction, in ml."""
    return pair.counts.prediction * pair.voxel_ml
