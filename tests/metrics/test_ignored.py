"""What the truth does not tell has no part in any figure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.metrics import METRICS, Structure, pairs
from medseg.metrics.lesions import match_lesions
from tests.metrics.shapes import ball

SHAPE, CENTRE = (40, 40, 40), (20, 20, 20)
BALL = [Structure("ball", (1,))]
IGNORE = 255


def scores(truth, prediction, spacing=(1, 1, 1)):
    ((_, pair),) = pairs(truth, prediction, BALL, np.diag(spacing).astype(float), ignore=IGNORE)
    return {name: metric.value(pair) for name, metric in METRICS.items()}


def half_ignored(mask, axis, *, low=False):
    part = mask.copy()
    half = slice(None, 21) if low else slice(20, None)
    part[tuple(half if k == axis else slice(None) for k in range(3))] = IGNORE
    return part


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("radius", [7, 10, 13])
def test_half_a_ball_scores_as_the_whole_ball(axis, low, radius):
    """By symmetry; what is lost at the cut is a ring of one voxel."""
    truth = ball(SHAPE, CENTRE, 10).astype(np.uint8)
    prediction = ball(SHAPE, CENTRE, radius).astype(np.uint8)
    whole = scores(truth, prediction)
    part = scores(half_ignored(truth, axis, low=low), prediction)
    for name in ("nsd", "dice", "volume_error_rel"):
        assert part[name] == pytest.approx(whole[name], abs=0.06)
    for name in ("hd", "hd95", "assd"):
        assert part[name] == pytest.approx(whole[name], abs=0.15)


def test_a_right_prediction_is_right_whatever_is_ignored():
    truth = ball(SHAPE, CENTRE, 10).astype(np.uint8)
    part = scores(half_ignored(truth, 2), truth)
    assert (part["nsd"], part["hd"], part["dice"]) == (1.0, 0.0, 1.0)


def test_volumes_are_those_of_what_is_judged():
    truth = ball(SHAPE, CENTRE, 10).astype(np.uint8)
    part = scores(half_ignored(truth, 0), truth, (1, 2, 0.5))
    assert part["truth_ml"] == pytest.approx(truth[:20].sum() / 1000)
    assert part["prediction_ml"] == pytest.approx(truth[:20].sum() / 1000)


def test_a_structure_in_a_band_of_ignored_voxels_has_no_surface_to_judge():
    """An uncertain rim, as raters paint it: overlap is defined, distances are not."""
    truth = ball(SHAPE, CENTRE, 10).astype(np.uint8)
    truth[ball(SHAPE, CENTRE, 12) & ~ball(SHAPE, CENTRE, 10)] = IGNORE
    found = scores(truth, ball(SHAPE, CENTRE, 11).astype(np.uint8))
    assert found["dice"] == 1.0
    assert all(np.isnan(found[name]) for name in ("nsd", "hd", "hd95", "assd"))


def test_a_surface_that_only_the_prediction_shows_is_off():
    truth = ball(SHAPE, CENTRE, 6).astype(np.uint8)
    truth[ball(SHAPE, CENTRE, 8) & ~ball(SHAPE, CENTRE, 6)] = IGNORE
    found = scores(truth, ball(SHAPE, CENTRE, 12).astype(np.uint8))
    assert found["nsd"] == 0.0
    assert np.isnan(found["hd95"])


@given(seed=st.integers(0, 10_000))
def test_what_is_predicted_in_ignored_voxels_changes_nothing(seed):
    random = np.random.default_rng(seed)
    shape = (9, 10, 8)
    truth = ball(shape, (4, 5, 4), int(random.integers(1, 4))).astype(np.uint8)
    ignored = random.random((3, 5, 4)).repeat(3, 0).repeat(2, 1).repeat(2, 2) < 0.3
    truth[ignored] = IGNORE
    prediction = np.roll(truth == 1, 1, axis=0).astype(np.uint8)
    other = np.where(ignored, random.integers(0, 2, size=shape), prediction).astype(np.uint8)
    one, two = scores(truth, prediction), scores(truth, other)
    assert list(one.values()) == pytest.approx(list(two.values()), nan_ok=True, abs=0)


def test_ignored_voxels_far_away_change_nothing():
    truth = ball(SHAPE, CENTRE, 6).astype(np.uint8)
    prediction = np.roll(truth, 2, axis=1)
    aside = truth.copy()
    aside[:, :, 30:] = IGNORE
    assert scores(aside, prediction) == pytest.approx(scores(truth, prediction))


def test_a_prediction_that_reaches_into_the_unknown_is_no_false_lesion():
    truth, prediction, ignored = np.zeros((3, 20, 20, 20), bool)
    truth[2:5, 2:5, 2:5] = prediction[2:5, 2:5, 2:5] = True
    ignored[10:] = True
    prediction[8:10, 8:12, 8:12] = True  # touches the ignored part
    prediction[2:4, 14:16, 14:16] = True  # does not
    matches = match_lesions(truth, prediction, ignored)
    assert (matches.truth, matches.found, matches.false_positives) == (1, 1, 1)
