"""Figures drawn from matched lesions; the matching rule is in ``lesions.py``."""

from __future__ import annotations

from medseg.metrics.pair import Pair


def lesion_f1(pair: Pair) -> float:
    """2 found / (true lesions + predicted lesions)."""
    return pair.lesions.f1


def lesion_sensitivity(pair: Pair) -> float:
    """Found / true lesions."""
    return pair.lesions.sensitivity


def lesion_false_positives(pair: Pair) -> float:
    """Predicted lesions without a partner in this scan."""
    return float(pair.lesions.false_positives)


def panoptic_quality(pair: Pair) -> float:
    """Detection and outline of lesions in one figure."""
    return pair.lesions.panoptic_quality
