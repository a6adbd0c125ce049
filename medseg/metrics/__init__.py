"""How good is a prediction?  Every metric of medseg, in one table.

Adding one: a function of a :class:`Pair` in a file of its own, and a line below.
"""

from __future__ import annotations

from math import inf

from medseg.metrics import lesion_metrics, overlap, surface_metrics
from medseg.metrics.counts import Counts, Survey, survey
from medseg.metrics.metric import (
    ALWAYS,
    DISTANCE,
    ERROR,
    OVERLAP,
    RELATIVE,
    Better,
    Empty,
    EmptyRule,
    Metric,
)
from medseg.metrics.pair import Pair
from medseg.metrics.structures import Structure, pairs

__all__ = [
    "METRICS",
    "Better",
    "Counts",
    "Empty",
    "EmptyRule",
    "Metric",
    "Pair",
    "Structure",
    "Survey",
    "pairs",
    "survey",
]

_RELOADED = "doi:10.1038/s41592-023-02151-z"

_HIGHER, _LOWER, _ZERO, _NEITHER = Better.HIGHER, Better.LOWER, Better.ZERO, Better.NEITHER
_SURFACE = "doi:10.2196/26151"

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "dice",
            "Dice similarity coefficient (DSC)",
            "",
            _HIGHER,
            0,
            1,
            OVERLAP,
            "doi:10.2307/1932409",
            overlap.dice,
        ),
        Metric(
            "iou",
            "Intersection over union (IoU)",
            "",
            _HIGHER,
            0,
            1,
            OVERLAP,
            "doi:10.1111/j.1469-8137.1912.tb05611.x",
            overlap.iou,
        ),
        Metric(
            "nsd",
            "Normalised surface distance (NSD)",
            "tolerance",
            _HIGHER,
            0,
            1,
            OVERLAP,
            _SURFACE,
            surface_metrics.nsd,
        ),
        Metric(
            "hd95",
            "95th percentile Hausdorff distance (HD95)",
            "mm",
            _LOWER,
            0,
            inf,
            DISTANCE,
            _SURFACE,
            surface_metrics.hd95,
        ),
        Metric(
            "hd",
            "Hausdorff distance (HD)",
            "mm",
            _LOWER,
            0,
            inf,
            DISTANCE,
            "doi:10.1109/34.232073",
            surface_metrics.hd,
        ),
        Metric(
            "assd",
            "Average symmetric surface distance (ASSD)",
            "mm",
            _LOWER,
            0,
            inf,
            DISTANCE,
            _RELOADED,
            surface_metrics.assd,
        ),
        Metric(
            "sensitivity", "Sensitivity", "", _HIGHER, 0, 1, OVERLAP, _RELOADED, overlap.sensitivity
        ),
        Metric(
            "precision",
            "Positive predictive value (PPV)",
            "",
            _HIGHER,
            0,
            1,
            OVERLAP,
            _RELOADED,
            overlap.precision,
        ),
        Metric(
            "volume_error_ml",
            "Volume error",
            "ml",
            _ZERO,
            -inf,
            inf,
            ERROR,
            _RELOADED,
            overlap.volume_error_ml,
        ),
        Metric(
            "volume_error_rel",
            "Relative volume error",
            "",
            _ZERO,
            -1,
            inf,
            RELATIVE,
            _RELOADED,
            overlap.volume_error_rel,
        ),
        Metric(
            "lesion_f1",
            "Lesion-wise F1 score",
            "",
            _HIGHER,
            0,
            1,
            OVERLAP,
            _RELOADED,
            lesion_metrics.lesion_f1,
        ),
        Metric(
            "lesion_sensitivity",
            "Lesion-wise sensitivity",
            "",
            _HIGHER,
            0,
            1,
            OVERLAP,
            _RELOADED,
            lesion_metrics.lesion_sensitivity,
        ),
        Metric(
            "lesion_false_positives",
            "False-positive lesions per scan",
            "lesions",
            _LOWER,
            0,
            inf,
            ALWAYS,
            _RELOADED,
            lesion_metrics.lesion_false_positives,
        ),
        Metric(
            "panoptic_quality",
            "Panoptic quality (PQ)",
            "",
            _HIGHER,
            0,
            1,
            OVERLAP,
            "doi:10.1109/CVPR.2019.00963",
            lesion_metrics.panoptic_quality,
        ),
        Metric(
            "truth_ml",
            "Volume of the truth",
            "ml",
            _NEITHER,
            0,
            inf,
            ALWAYS,
            _RELOADED,
            overlap.truth_ml,
        ),
        Metric(
            "prediction_ml",
            "Volume of the prediction",
            "ml",
            _NEITHER,
            0,
            inf,
            ALWAYS,
            _RELOADED,
            overlap.prediction_ml,
        ),
    )
}
