"""What every entry of METRICS keeps to, the rules for empty masks, and figures on paper."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.metrics import METRICS, Better, Empty, Structure, pairs
from tests.metrics.shapes import ball, box, made_pairs

SIZE = (16, 16, 12)
SOME = ball(SIZE, (7, 8, 6), 4)
NONE = np.zeros(SIZE, bool)
SPACING = (1.0, 0.8, 2.0)

OVERLAP = ["dice", "iou", "nsd", "sensitivity", "precision", "lesion_f1", "panoptic_quality"]
DISTANCES = ["hd", "hd95", "assd"]


def test_the_contract_s_metrics_are_there():
    assert {
        "dice",
        "iou",
        "nsd",
        "hd95",
        "assd",
        "volume_error_ml",
        "volume_error_rel",
        "sensitivity",
        "precision",
        "lesion_f1",
    } <= set(METRICS)


@pytest.mark.parametrize("name", METRICS)
def test_an_entry_is_complete(name):
    metric = METRICS[name]
    assert metric.name == name
    assert metric.title
    assert metric.source.startswith("doi:10.")
    assert metric.low < metric.high


@pytest.mark.parametrize("name", METRICS)
def test_a_perfect_prediction_is_the_best_value(name):
    metric = METRICS[name]
    value = metric.compute(SOME, SOME.copy(), SPACING)
    best = {Better.HIGHER: metric.high, Better.LOWER: metric.low, Better.ZERO: 0.0}
    assert metric.better is Better.NEITHER or value == pytest.approx(best[metric.better])


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("pair", list(made_pairs(12)), ids=lambda pair: pair[0])
def test_values_stay_within_their_range(name, pair):
    metric = METRICS[name]
    _, truth, prediction, spacing = pair
    assert metric.low <= metric.compute(truth, prediction, spacing) <= metric.high


@pytest.mark.parametrize("name", METRICS)
def test_empty_masks_give_what_the_rule_says(name):
    metric = METRICS[name]
    cases = {"truth": (NONE, SOME), "prediction": (SOME, NONE), "both": (NONE, NONE)}
    for empty, (truth, prediction) in cases.items():
        rule = getattr(metric.empty, empty)
        value = metric.compute(truth, prediction, SPACING)
        if rule is Empty.UNDEFINED:
            assert np.isnan(value)
        elif rule is Empty.ZERO:
            assert value == 0.0
        else:
            assert np.isfinite(value)


@pytest.mark.parametrize("name", OVERLAP)
def test_overlap_is_0_where_one_mask_is_empty_and_undefined_where_both_are(name):
    metric = METRICS[name]
    assert metric.compute(NONE, SOME, SPACING) == metric.compute(SOME, NONE, SPACING) == 0
    assert np.isnan(metric.compute(NONE, NONE, SPACING))
    assert metric.missing == 0


@pytest.mark.parametrize("name", DISTANCES)
def test_there_is_no_distance_to_nothing(name):
    for pair in ((NONE, SOME), (SOME, NONE), (NONE, NONE)):
        assert np.isnan(METRICS[name].compute(*pair, SPACING))
    assert np.isnan(METRICS[name].missing)


def test_a_false_positive_has_its_volume_as_error():
    assert METRICS["volume_error_ml"].compute(NONE, SOME, SPACING) == pytest.approx(
        SOME.sum() * 1.6 / 1000
    )
    assert np.isnan(METRICS["volume_error_rel"].compute(NONE, SOME, SPACING))


def test_figures_on_paper():
    """Truth of 4 voxels, prediction of 6, 3 shared; voxels of 2 mm^3."""
    truth, prediction = np.zeros((10, 1, 1), bool), np.zeros((10, 1, 1), bool)
    truth[0:4], prediction[1:7] = True, True
    expected = {
        "dice": 6 / 10,
        "iou": 3 / 7,
        "sensitivity": 3 / 4,
        "precision": 3 / 6,
        "volume_error_ml": 2 * 0.002,
        "volume_error_rel": 0.5,
        "truth_ml": 0.008,
        "prediction_ml": 0.012,
    }
    for name, value in expected.items():
        assert METRICS[name].compute(truth, prediction, (2, 1, 1)) == pytest.approx(value)


@pytest.mark.parametrize("pair", list(made_pairs(40)), ids=lambda pair: pair[0])
def test_overlap_equals_independent_definitions(pair):
    """Sets of voxel numbers, Python's own arithmetic."""
    _, truth, prediction, spacing = pair
    t, p = set(np.flatnonzero(truth).tolist()), set(np.flatnonzero(prediction).tolist())
    expected = {
        "dice": 2 * len(t & p) / (len(t) + len(p)),
        "iou": len(t & p) / len(t | p),
        "sensitivity": len(t & p) / len(t),
        "precision": len(t & p) / len(p),
    }
    for name, value in expected.items():
        assert METRICS[name].compute(truth, prediction, spacing) == value


def test_volume_comes_from_the_determinant_on_a_sheared_grid():
    steps = np.array([[1, 0, 0.5], [0, 1, 0], [0, 0, 2.0]])
    assert METRICS["truth_ml"].compute(SOME, SOME, steps) == pytest.approx(SOME.sum() * 2 / 1000)


def test_nsd_counts_the_surface_within_tolerance():
    """A bar moved by one voxel along its length: only its two ends are off."""
    truth = box((40, 9, 9), (5, 3, 3), (30, 6, 6))
    moved = np.roll(truth, 1, axis=0)
    nsd = METRICS["nsd"]
    assert nsd.compute(truth, moved, (2, 1, 1), tolerance_mm=1.9) < 1
    assert nsd.compute(truth, moved, (2, 1, 1), tolerance_mm=2.0) == 1


@given(
    st.integers(0, 10_000),
    st.sampled_from(["dice", "iou", "nsd", "hd", "hd95", "assd", "panoptic_quality"]),
)
def test_symmetric_metrics_do_not_care_which_is_the_truth(seed, name):
    random = np.random.default_rng(seed)
    one, other = random.random((2, 6, 7, 5)) > 0.7
    forth = METRICS[name].compute(one, other, SPACING)
    back = METRICS[name].compute(other, one, SPACING)
    assert forth == pytest.approx(back, nan_ok=True)


@given(st.integers(0, 10_000), st.permutations(range(3)), st.integers(0, 7))
def test_storage_order_does_not_matter(seed, axes, mirrors):
    random = np.random.default_rng(seed)
    truth, prediction = random.random((2, 6, 7, 5)) > 0.6
    flips = tuple(slice(None, None, -1 if mirrors >> k & 1 else 1) for k in range(3))
    turned = [mask.transpose(axes)[flips] for mask in (truth, prediction)]
    spacing = [SPACING[axis] for axis in axes]
    for name in ("dice", "hd95", "assd", "nsd", "lesion_f1"):
        assert METRICS[name].compute(*turned, spacing) == pytest.approx(
            METRICS[name].compute(truth, prediction, SPACING), abs=1e-12
        )


@pytest.mark.parametrize("order", "CF")
def test_forty_labels_at_once_equal_one_after_the_other(order):
    random = np.random.default_rng(8)
    truth = random.integers(0, 41, (9, 8, 7)).repeat(3, 0).repeat(3, 1).repeat(3, 2)
    truth = np.array(truth, dtype=np.uint8, order=order)
    prediction = np.array(np.roll(truth, 1, axis=1), order=order)
    structures = [Structure(str(value), (value,)) for value in range(1, 41)]
    structures.append(Structure("union", (3, 7, 40)))
    for structure, pair in pairs(truth, prediction, structures, np.diag(SPACING)):
        masks = np.isin(truth, structure.values), np.isin(prediction, structure.values)
        for name, metric in METRICS.items():
            assert metric.value(pair) == pytest.approx(
                metric.compute(*masks, SPACING), abs=1e-12, nan_ok=True
            ), (structure.name, name)


def test_arguments_are_left_as_they_are():
    truth, prediction = SOME.copy(), np.roll(SOME, 1, axis=0)
    before = truth.copy(), prediction.copy()
    for metric in METRICS.values():
        metric.compute(truth, prediction, SPACING)
    assert np.array_equal(truth, before[0])
    assert np.array_equal(prediction, before[1])
