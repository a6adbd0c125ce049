"""Counts and boxes of all labels from one pass, against counting one label after the other."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import BadLabels, GridMismatch
from medseg.metrics import counts, survey
from medseg.metrics.counts import Counts, counts_of_masks


def random_maps(seed, labels, shape=(23, 17, 31), dtype=np.uint8):
    random = np.random.default_rng(seed)
    coarse = random.integers(0, labels, size=[n // 4 + 1 for n in shape])
    grown = coarse.repeat(4, 0).repeat(4, 1).repeat(4, 2)[: shape[0], : shape[1], : shape[2]]
    noisy = np.where(random.random(shape) < 0.1, random.integers(0, labels, size=shape), grown)
    return grown.astype(dtype), noisy.astype(dtype)


@pytest.mark.parametrize("labels", [2, 3, 16, 17, 41, 256, 257, 400])
@pytest.mark.parametrize("order", "CF")
def test_counts_equal_counting_each_label(labels, order):
    maps = random_maps(labels, labels, dtype=np.uint16 if labels > 256 else np.uint8)
    truth, prediction = (np.array(m, order=order) for m in maps)
    found = survey(truth, prediction, range(1, labels))
    assert found.voxels.sum() == truth.size
    for value in range(1, min(labels, 50)):
        assert found.counts([value]) == counts_of_masks(truth == value, prediction == value)


def test_boxes_are_the_smallest_around_truth_and_prediction():
    truth, prediction = random_maps(3, 12)
    truth[truth == 5], prediction[prediction == 5] = 0, 0
    truth[4:9, 2, 30], prediction[11, 6:8, 0] = 5, 5
    box = survey(truth, prediction, range(1, 12)).box([5])
    assert box == (slice(4, 12), slice(2, 8), slice(0, 31))


def test_a_box_of_nothing_is_empty():
    nothing = np.zeros((4, 5, 6), np.uint8)
    assert survey(nothing, nothing, range(1, 3)).box([2]) == (slice(0, 0),) * 3


def test_slabs_do_not_matter(monkeypatch):
    truth, prediction = random_maps(4, 9)
    whole = survey(truth, prediction, range(1, 9))
    monkeypatch.setattr(counts, "SLAB_VOXELS", 700)
    parts = survey(truth, prediction, range(1, 9))
    assert np.array_equal(whole.voxels, parts.voxels)
    assert all(whole.box([v]) == parts.box([v]) for v in range(1, 9))


def test_a_region_counts_the_union_of_its_labels():
    truth, prediction = random_maps(5, 6)
    assert survey(truth, prediction, range(1, 6)).counts([2, 4, 5]) == counts_of_masks(
        np.isin(truth, [2, 4, 5]), np.isin(prediction, [2, 4, 5])
    )


def test_arguments_are_left_as_they_are():
    truth, prediction = random_maps(6, 40)
    before = truth.copy(), prediction.copy()
    survey(truth, prediction, range(1, 40))
    assert np.array_equal(truth, before[0])
    assert np.array_equal(prediction, before[1])


def test_unknown_values_and_other_shapes_are_refused():
    small = np.zeros((3, 3, 3), np.uint8)
    with pytest.raises(BadLabels, match="prediction"):
        survey(small, small + 4, [1, 2, 3])
    with pytest.raises(BadLabels, match="truth"):
        survey(small.astype(np.int16) - 1, small, [1, 2, 3])
    with pytest.raises(GridMismatch):
        survey(small, np.zeros((3, 3, 4), np.uint8), [1, 2, 3])


def test_truth_and_prediction_of_counts():
    told = Counts(both=3, only_prediction=4, only_truth=5)
    assert (told.truth, told.prediction) == (8, 7)


def test_memory_goes_by_the_labels_not_by_their_values():
    """Label 65535 beside label 1: three values, not a table of 65536 by 65536."""
    truth = np.zeros((20, 20, 20), np.uint16)
    truth[2:5, 4:10, 4:10], truth[8:11, 4:10, 4:10] = 1, 65535
    prediction = np.roll(truth, 1, axis=1)
    tracemalloc.start()
    found = survey(truth, prediction, [1, 65535], ignore=40_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
    assert found.counts([65535]) == Counts(90, 18, 18)
    assert found.box([65535]) == (slice(8, 11), slice(4, 11), slice(4, 10))


@given(seed=st.integers(0, 10_000), size=st.integers(1, 40), top=st.sampled_from([9, 255, 65535]))
def test_any_set_of_values_is_counted_like_one_mask_after_the_other(seed, size, top):
    random = np.random.default_rng(seed)
    values = sorted({int(v) for v in random.integers(1, top + 1, size=size)})
    ignore = top + 1 if top < 65535 else None
    pool = [0, *values] + ([ignore] if ignore else [])
    truth, prediction = random.choice(pool, size=(2, 7, 6, 5)).astype(np.uint32)
    prediction[prediction == ignore] = 0
    found = survey(truth, prediction, values, ignore=ignore)
    known = truth != ignore
    for value in [*values[:5], values[-1]]:
        masks = (truth == value) & known, (prediction == value) & known
        assert found.counts([value]) == counts_of_masks(*masks)
        places = np.argwhere(masks[0] | masks[1])
        box = found.box([value])
        assert [part.start for part in box] == list(places.min(0) if len(places) else (0, 0, 0))
        assert [part.stop for part in box] == list(places.max(0) + 1 if len(places) else (0, 0, 0))
