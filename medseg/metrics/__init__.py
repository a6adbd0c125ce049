"""Every metric of medseg, in one table.

Adding one: a function of a :class:`Pair` in a file of its own, and a line below.
"""

from __future__ import annotations

from functools import partial
from math import inf

from medseg.metrics import lesion_metrics, overlap, surface_metrics
from medseg.metrics.by_label import dice_by_label
from medseg.metrics.counts import Counts, Survey, survey
from medseg.metrics.empty_masks import (
    ALWAYS,
    DISTANCE,
    ERROR,
    OVERLAP,
    RELATIVE,
    Empty,
    EmptyRule,
)
from medseg.metrics.metric import Better, Metric
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
    "dice_by_label",
    "pairs",
    "survey",
]

#: Metrics Reloaded, which most definitions follow.
RELOADED = "doi:10.1038/s41592-023-02151-z"

#: The surfel definitions of NSD and HD95.
SURFEL_METRICS = "doi:10.2196/26151"

#: From nothing right (0) to all right (1).
_share = partial(Metric, unit="", better=Better.HIGHER, low=0, high=1, empty=OVERLAP)
_distance = partial(Metric, unit="mm", better=Better.LOWER, low=0, high=inf, empty=DISTANCE)
_volume = partial(Metric, unit="ml", better=Better.NEITHER, low=0, high=inf, empty=ALWAYS)

_ROWS = (
    _share(
        name="dice",
        title="Dice similarity coefficient (DSC)",
        source="doi:10.2307/1932409",
        formula=overlap.dice,
    ),
    _share(
        name="iou",
        title="Intersection over union (IoU)",
        source="doi:10.1111/j.1469-8137.1912.tb05611.x",
        formula=overlap.iou,
    ),
    _share(
        name="nsd",
        title="Normalised surface distance (NSD)",
        unit="tolerance",
        source=SURFEL_METRICS,
        formula=surface_metrics.nsd,
    ),
    _distance(
        name="hd95",
        title="95th percentile Hausdorff distance (HD95)",
        source=SURFEL_METRICS,
        formula=surface_metrics.hd95,
    ),
    _distance(
        name="hd",
        title="Hausdorff distance (HD)",
        source="doi:10.1109/34.232073",
        formula=surface_metrics.hd,
    ),
    _distance(
        name="assd",
        title="Average symmetric surface distance (ASSD)",
        source=RELOADED,
        formula=surface_metrics.assd,
    ),
    _share(
        name="sensitivity",
        title="Sensitivity",
        source=RELOADED,
        formula=overlap.sensitivity,
    ),
    _share(
        name="precision",
        title="Positive predictive value (PPV)",
        source=RELOADED,
        formula=overlap.precision,
    ),
    Metric(
        name="volume_error_ml",
        title="Volume error",
        unit="ml",
        better=Better.ZERO,
        low=-inf,
        high=inf,
        empty=ERROR,
        source=RELOADED,
        formula=overlap.volume_error_ml,
    ),
    Metric(
        name="volume_error_rel",
        title="Relative volume error",
        unit="",
        better=Better.ZERO,
        low=-1,
        high=inf,
        empty=RELATIVE,
        source=RELOADED,
        formula=overlap.volume_error_rel,
    ),
    _share(
        name="lesion_f1",
        title="Lesion-wise F1 score",
        source=RELOADED,
        formula=lesion_metrics.lesion_f1,
    ),
    _share(
        name="lesion_sensitivity",
        title="Lesion-wise sensitivity",
        source=RELOADED,
        formula=lesion_metrics.lesion_sensitivity,
    ),
    Metric(
        name="lesion_false_positives",
        title="False-positive lesions per scan",
        unit="lesions",
        better=Better.LOWER,
        low=0,
        high=inf,
        empty=ALWAYS,
        source=RELOADED,
        formula=lesion_metrics.lesion_false_positives,
    ),
    _share(
        name="panoptic_quality",
        title="Panoptic quality (PQ)",
        source="doi:10.1109/CVPR.2019.00963",
        formula=lesion_metrics.panoptic_quality,
    ),
    _volume(
        name="truth_ml",
        title="Volume of the truth",
        source=RELOADED,
        formula=overlap.truth_ml,
    ),
    _volume(
        name="prediction_ml",
        title="Volume of the prediction",
        source=RELOADED,
        formula=overlap.prediction_ml,
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ROWS}
