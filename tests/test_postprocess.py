"""Each cleaning rule mends what it says, and nothing else."""

import numpy as np
import pytest

from medseg import postprocess as module
from medseg.config import PostprocessRule
from medseg.errors import BadLabels
from medseg.labels import LabelTable
from medseg.postprocess import apply_rules
from tests.transforms.grids import grid

LABELS = LabelTable.from_card({"labels": {"liver": 1, "tumour": 2, "spleen": 7}})


def clean(mask, *rules, spacing=(1.0, 1.0, 1.0)):
    before = mask.copy()
    result = apply_rules(mask, grid(mask.shape, spacing), LABELS, rules)
    assert np.array_equal(mask, before)  # arguments are never changed
    assert result.dtype == mask.dtype
    return result


def empty(shape=(30, 28, 20)):
    return np.zeros(shape, np.uint8)


def three_components():
    """Two large and one small liver component, and a spleen."""
    mask = empty()
    mask[1:11, 1:11, 1:11] = 1  # 1000 voxels
    mask[15:23, 1:9, 1:9] = 1  # 512
    mask[15:17, 15:17, 15:17] = 1  # 8
    mask[25:29, 20:24, 10:14] = 7
    return mask


def test_only_the_largest_components_stay():
    mask = three_components()
    one = clean(mask, PostprocessRule(rule="keep_largest", label="liver"))
    assert (one == 1).sum() == 1000
    assert (one == 7).sum() == 64
    two = clean(mask, PostprocessRule(rule="keep_largest", label="liver", count=2))
    assert (two == 1).sum() == 1512


def test_components_that_touch_by_a_corner_are_one():
    mask = empty()
    mask[2:5, 2:5, 2:5] = 1
    mask[5:9, 5:9, 5:9] = 1
    assert np.array_equal(clean(mask, PostprocessRule(rule="keep_largest")), mask)


def test_small_means_millilitres():
    mask = three_components()
    rule = PostprocessRule(rule="remove_small", label="*", ml=0.1)  # 100 voxels of 1 mm
    assert np.unique(clean(mask, rule)[mask == 7]).tolist() == [0]
    assert (clean(mask, rule) == 1).sum() == 1512
    wide = clean(mask, rule, spacing=(1.0, 1.0, 2.0))  # now 50 voxels
    assert (wide == 7).sum() == 64


@pytest.mark.parametrize("rounding", [1 - 6e-8, 1, 1 + 6e-8])
def test_what_a_header_rounds_moves_no_voxel_over_a_threshold(rounding):
    """A float32 header of an oblique scan says 1.00000006 mm where 1 mm is meant."""
    spacing = (rounding, rounding, 3 * rounding)
    cube = empty()
    cube[5:15, 5:15, 5:15] = 1  # 3 ml
    rule = PostprocessRule(rule="remove_small", label="liver", ml=3.0)
    assert np.array_equal(clean(cube, rule, spacing=spacing), cube)
    parts = empty()
    parts[3:9, 5:15, 5:15] = parts[13:19, 5:15, 5:15] = 1  # 4 voxels apart
    for mm, is_filled in ((1.0, False), (2.0, True)):
        rule = PostprocessRule(rule="close", label="liver", mm=mm)
        exact, rounded = (clean(parts, rule, spacing=s) for s in ((1.0, 1.0, 3.0), spacing))
        assert np.array_equal(rounded, exact)
        assert (rounded.sum() > parts.sum()) == is_filled


def test_holes_fill_but_keep_what_lies_in_them():
    mask = empty()
    mask[2:20, 2:20, 2:18] = 1
    mask[5:9, 5:9, 5:9] = 0  # a hole
    mask[12:15, 12:15, 12:15] = 2  # a tumour, not a hole
    mask[2:4, 10, 10] = 0  # a dent, open to the outside
    result = clean(mask, PostprocessRule(rule="fill_holes", label="liver"))
    assert (result[5:9, 5:9, 5:9] == 1).all()
    assert (result == 2).sum() == 27
    assert (result[2:4, 10, 10] == 0).all()


def test_holes_of_a_single_slice_fill_in_its_plane():
    mask = empty((20, 20, 1))
    mask[2:10, 2:10] = 1
    mask[4:6, 4:6] = 0
    result = clean(mask, PostprocessRule(rule="fill_holes", label="liver"))
    assert (result == 1).sum() == 64


def test_closing_bridges_gaps_of_its_diameter_in_millimetres():
    mask = empty()
    mask[3:12, 5:20, 5:15] = 1
    mask[14:25, 5:20, 5:15] = 1  # 2 voxels apart
    mask[12, 10, 10] = 7
    rule = PostprocessRule(rule="close", label="liver", mm=2.0)
    result = clean(mask, rule)
    assert result[12:14, 8:17, 8:12].min() == 1
    assert (result == 7).sum() == 1  # no label takes another's voxel
    assert result[:3].max() == 0 and result[25:].max() == 0  # and nothing grows outwards
    apart = clean(mask, rule, spacing=(3.0, 1.0, 1.0))  # a gap of 6 mm
    assert (apart[12:14] == 1).sum() == 0


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("gap", [0, 1, 2, 3])
@pytest.mark.parametrize("end", ["first", "last"])
def test_closing_grows_no_box_towards_the_edge_of_the_scan(axis, gap, end):
    mask = empty()
    box = [slice(9, 16), slice(9, 16), slice(7, 13)]
    size = mask.shape[axis]
    box[axis] = slice(gap, gap + 6) if end == "first" else slice(size - gap - 6, size - gap)
    mask[tuple(box)] = 1
    for mm in (2.0, 6.0):
        rule = PostprocessRule(rule="close", label="liver", mm=mm)
        assert np.array_equal(clean(mask, rule, spacing=(1.0, 1.5, 3.0)), mask)


def test_closing_in_slabs_is_closing(monkeypatch):
    mask = (np.random.default_rng(1).random((40, 12, 9)) > 0.8).astype(np.uint8)
    rule = PostprocessRule(rule="close", label="liver", mm=2.5)
    whole = clean(mask, rule)
    monkeypatch.setattr(module, "SLAB_VOXELS", 300)
    assert whole.sum() > mask.sum()
    assert np.array_equal(clean(mask, rule), whole)


def test_a_tumour_outside_the_liver_goes():
    mask = empty()
    mask[2:12, 2:12, 2:12] = 1
    mask[5:8, 5:8, 5:8] = 2
    mask[20:23, 20:23, 10:13] = 2
    result = clean(mask, PostprocessRule(rule="inside", label="tumour", of="liver"))
    assert (result == 2).sum() == 27
    assert result[6, 6, 6] == 2


def test_rules_run_in_their_order():
    mask = empty()
    mask[2:8, 2:8, 2:8] = 1
    mask[15:24, 15:24, 5:14] = 1
    mask[16:23, 16:23, 6:13] = 0  # a hollow shell: 386 voxels around 343
    largest = PostprocessRule(rule="keep_largest", label="liver")
    fill = PostprocessRule(rule="fill_holes", label="liver")
    assert (clean(mask, largest, fill) == 1).sum() == 729
    assert (clean(mask, largest) == 1).sum() == 386


def test_many_components_need_more_than_16_bits():
    mask = empty((110, 110, 100))
    mask[::2, ::2, ::2] = 1  # 151 250 single voxels
    mask[40:44, 40:44, 40:44] = 1
    result = clean(mask, PostprocessRule(rule="keep_largest", label="liver"))
    assert 64 <= (result == 1).sum() < 200


def test_an_absent_label_and_no_rules_change_nothing():
    mask = empty()
    assert clean(mask, PostprocessRule(rule="keep_largest")).sum() == 0
    assert clean(mask) is mask


def test_unknown_names_are_refused():
    with pytest.raises(BadLabels, match="kidney"):
        clean(empty(), PostprocessRule(rule="fill_holes", label="kidney"))
    with pytest.raises(BadLabels, match="heart"):
        clean(empty(), PostprocessRule(rule="inside", label="tumour", of="heart"))
