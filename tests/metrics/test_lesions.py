"""Lesions matched by the stated rule, on arrangements that can be counted by eye."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.metrics import METRICS
from medseg.metrics.lesions import DETECTED_IOU, match_lesions

SIZE = (20, 20, 20)


def cube(*lows, edge=3):
    mask = np.zeros(SIZE, bool)
    for low in lows:
        mask[tuple(slice(k, k + edge) for k in low)] = True
    return mask


def test_two_of_three_found_and_one_invented():
    truth = cube((1, 1, 1), (8, 8, 8), (15, 1, 15))
    prediction = cube((1, 1, 1), (8, 8, 9), (1, 15, 1))
    matches = match_lesions(truth, prediction)
    assert (matches.truth, matches.prediction, matches.found) == (3, 3, 2)
    assert matches.f1 == pytest.approx(4 / 6)
    assert matches.sensitivity == pytest.approx(2 / 3)
    assert matches.false_positives == 1
    assert matches.ious == (1.0, pytest.approx(18 / 36))  # shifted by one of three: 18 of 36
    assert matches.panoptic_quality == pytest.approx(1.0 / 3)  # 0.5 is not above one half


def test_voxels_that_touch_at_a_corner_are_one_lesion():
    truth = cube((1, 1, 1), (4, 4, 4))
    assert match_lesions(truth, truth).truth == 1


def test_one_prediction_over_two_lesions_finds_only_one():
    truth = cube((1, 1, 1), (5, 1, 1))
    prediction = np.zeros(SIZE, bool)
    prediction[1:8, 1:4, 1:4] = True
    matches = match_lesions(truth, prediction)
    assert (matches.truth, matches.prediction, matches.found) == (2, 1, 1)


def test_a_lesion_in_pieces_is_found_once():
    truth = np.zeros(SIZE, bool)
    truth[1:8, 1:4, 1:4] = True
    matches = match_lesions(truth, cube((1, 1, 1), (5, 1, 1)))
    assert (matches.found, matches.false_positives) == (1, 1)


def test_a_touch_below_the_threshold_is_no_detection():
    """One of 27 + 27 - 1 voxels shared: IoU 1/53."""
    truth, prediction = cube((1, 1, 1)), cube((3, 3, 3))
    assert DETECTED_IOU > 1 / 53
    assert match_lesions(truth, prediction).found == 0


def test_the_best_overlap_is_taken_first():
    truth = cube((5, 5, 5), edge=4)
    prediction = cube((5, 5, 5), edge=3)
    prediction[9:14, 9:14, 9:14] = True  # touches the truth's far corner diagonally only
    matches = match_lesions(truth, prediction)
    assert matches.ious == (pytest.approx(27 / 64),)


def test_a_healthy_scan_without_false_alarm_counts_as_none():
    nothing = np.zeros(SIZE, bool)
    assert METRICS["lesion_false_positives"].compute(nothing, nothing, (1, 1, 1)) == 0
    assert METRICS["lesion_false_positives"].compute(nothing, cube((1, 1, 1)), (1, 1, 1)) == 1
