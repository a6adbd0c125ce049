"""A mask restored a box at a time is the mask of all classes interpolated over the whole scan."""

import itertools

import numpy as np
import pytest
import torch

from medseg.errors import BadLabels, GridMismatch
from medseg.geometry import working_grid
from medseg.labels import LabelTable
from medseg.transforms.resample import resample
from medseg.transforms.restore import Restorer, restore
from tests.transforms.grids import NATIVE, grid

LABELS = LabelTable.from_card({"labels": {"liver": 1, "spleen": 4, "left kidney": 9}})
REGIONS = LabelTable.from_card(
    {
        "labels": {"oedema": 2, "core": 1, "enhancing": 3},
        "regions": {"whole": [1, 2, 3], "inner": [1, 3], "enhancing": [3]},
    }
)
everywhere = pytest.mark.parametrize("native", NATIVE.values(), ids=NATIVE)
SPACING = (1.3, 1.4, 1.5)


def smooth_logits(channels, shape, seed, dtype=torch.float64):
    """Logits of SD about 5 whose decision changes every few voxels, with plain areas too."""
    coarse = [max(2, n // 4) for n in shape]
    noise = torch.randn(1, channels, *coarse, generator=torch.Generator().manual_seed(seed))
    noise[:, 0] += 0.7
    fine = torch.nn.functional.interpolate(noise.double(), size=tuple(shape), mode="trilinear")
    return (fine[0] * 8).to(dtype)


def class_by_class(logits, working, native, labels):
    """All classes on the whole native grid, and the margin by which each voxel was decided."""
    whole = resample(logits.double(), working, native, antialias=False).numpy()
    if labels.regions:
        mask = np.zeros(native.shape, labels.dtype)
        for logit, value in zip(whole, labels.channel_values[1:], strict=True):
            mask[logit > 0] = value
        return mask, np.abs(whole).min(0)
    ranked = np.sort(whole, axis=0)
    return np.array(labels.channel_values)[whole.argmax(0)], ranked[-1] - ranked[-2]


@everywhere
@pytest.mark.parametrize("labels", [LABELS, REGIONS], ids=["labels", "regions"])
def test_equals_the_whole_volume_exactly_in_float64(native, labels):
    working = working_grid(native, SPACING)
    logits = smooth_logits(labels.channels, working.shape, seed=1)
    expected, _ = class_by_class(logits, working, native, labels)
    assert len(np.unique(expected)) > 2
    result = restore(logits, working, native, labels)
    assert result.dtype == labels.dtype
    assert np.array_equal(result, expected)


@everywhere
def test_differs_in_float32_only_at_ties(native):
    working = working_grid(native, SPACING)
    logits = smooth_logits(LABELS.channels, working.shape, seed=2, dtype=torch.float32)
    expected, margin = class_by_class(logits, working, native, LABELS)
    wrong = restore(logits, working, native, LABELS) != expected
    assert wrong.mean() <= 1e-5
    assert margin[wrong].max(initial=0) < 1e-3


@everywhere
@pytest.mark.parametrize("thickness", [1, 4, 7])
def test_boxes_that_share_a_layer_fill_the_scan(native, thickness):
    working = working_grid(native, SPACING)
    logits = smooth_logits(LABELS.channels, working.shape, seed=3)
    restorer = Restorer(working, native, LABELS)
    restorer.mask[:] = 77  # every voxel must be written
    cuts = [range(0, max(1, n - 1), thickness) for n in working.shape]
    for corner in itertools.product(*cuts):
        box = [
            slice(c, min(c + thickness + 1, n)) for c, n in zip(corner, working.shape, strict=True)
        ]
        restorer.put(logits[(slice(None), *box)], corner)
    assert np.array_equal(restorer.mask, restore(logits, working, native, LABELS))


def test_a_class_that_is_second_at_both_ends_may_win_between_them():
    working, native = grid((2, 1, 1), (2, 1, 1)), grid((3, 1, 1))
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.6], [-5.0, -5.0]])[..., None, None]
    assert restore(logits, working, native, LABELS).ravel().tolist() == [0, 4, 1]


def test_beyond_the_last_working_voxel_its_decision_goes_on():
    working, native = grid((3, 1, 1), (2, 1, 1)), grid((9, 1, 1), origin=(10, -30, 7))
    logits = torch.zeros(4, 3, 1, 1)
    logits[1, 0], logits[2, 1], logits[3, 2] = 9, 9, 9
    result = restore(logits, working, native, LABELS).ravel()
    assert result.tolist() == [1, 1, 1, 1, 4, 4, 9, 9, 9]


def test_the_observer_sees_every_box_with_its_decision():
    working = grid((40, 40, 40))
    logits = torch.zeros(4, 40, 40, 40)
    logits[0] = 1
    logits[1, :5, :5, :5] = 9
    seen = []
    restorer = Restorer(working, grid((40, 40, 40)), LABELS, observe=lambda *box: seen.append(box))
    restorer.put(logits, (0, 0, 0))
    ((box, decision),) = seen
    assert box is logits
    assert (decision == 1).sum() == 125
    assert (restorer.mask == 1).sum() == 125


def test_a_box_beyond_the_grid_is_refused():
    working = grid((4, 4, 4))
    with pytest.raises(GridMismatch, match="beyond"):
        Restorer(working, working, LABELS).put(torch.zeros(4, 3, 3, 3), (2, 0, 0))
    with pytest.raises(GridMismatch, match="fit"):
        restore(torch.zeros(4, 3, 3, 3), working, working, LABELS)


def test_regions_that_cannot_be_told_apart_are_refused():
    labels = LabelTable.from_card({"labels": {"a": 1, "b": 2}, "regions": {"both": [1, 2]}})
    with pytest.raises(BadLabels, match="'both' must paint one label"):
        restore(torch.zeros(1, 2, 2, 2), grid((2, 2, 2)), grid((2, 2, 2)), labels)
