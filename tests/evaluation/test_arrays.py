"""`medseg.score`: two arrays, every metric."""

from __future__ import annotations

import numpy as np
import pytest

import medseg
from medseg.errors import BadGeometry, BadLabels, GridMismatch
from medseg.metrics import METRICS
from tests.metrics.shapes import ball

SHAPE = (20, 18, 16)
TRUTH = ball(SHAPE, (9, 8, 7), 5)
MOVED = np.roll(TRUTH, 2, axis=1)


def test_booleans_need_no_names():
    scores = medseg.score(TRUTH, MOVED, (1, 1, 2))
    assert list(scores.columns) == list(METRICS)
    for name, metric in METRICS.items():
        assert scores.loc["mask", name] == pytest.approx(metric.compute(TRUTH, MOVED, (1, 1, 2)))


def test_labels_and_regions_are_rows():
    truth, prediction = TRUTH * 1 + np.roll(TRUTH, 6, 0) * 300, MOVED * 1
    truth[truth == 301] = 1
    scores = medseg.score(
        truth, prediction, (1, 1, 1), labels={"liver": 1, "cyst": 300, "both": [1, 300]}
    )
    assert list(scores.index) == ["liver", "cyst", "both"]
    assert scores.loc["cyst", "dice"] == 0


def test_ignored_voxels_and_tolerances_are_passed_on():
    truth = TRUTH * 1
    truth[:, :9] = 255
    scores = medseg.score(truth, truth * (truth == 1), (1, 1, 1), labels={"a": 1}, ignore=255)
    assert scores.loc["a", "nsd"] == 1
    wide = medseg.score(TRUTH, MOVED, (1, 1, 1), tolerance_mm=2)
    assert wide.loc["mask", "nsd"] == 1


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint16])
def test_whole_numbers_of_any_type_will_do(dtype):
    scores = medseg.score(TRUTH.astype(dtype), MOVED.astype(dtype), (1, 1, 1), labels={"a": 1})
    assert scores.loc["a", "dice"] == pytest.approx(
        METRICS["dice"].compute(TRUTH, MOVED, (1, 1, 1))
    )


def test_what_cannot_be_scored_is_refused():
    whole = TRUTH.astype(int)
    with pytest.raises(BadLabels, match="labels="):
        medseg.score(whole, whole, (1, 1, 1))
    with pytest.raises(BadLabels, match="prediction"):
        medseg.score(whole, whole * 2, (1, 1, 1), labels={"a": 1})
    with pytest.raises(BadLabels, match="truth"):
        medseg.score(whole * 0.5, whole, (1, 1, 1), labels={"a": 1})
    with pytest.raises(GridMismatch):
        medseg.score(whole, whole[1:], (1, 1, 1), labels={"a": 1})
    for spacing in ((1, 1), (1, 0, 1), (1, -1, 1), (1, np.nan, 1)):
        with pytest.raises(BadGeometry):
            medseg.score(TRUTH, TRUTH, spacing)
