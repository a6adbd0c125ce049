import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import BadConfig
from medseg.geometry import Geometry
from medseg.review import edits
from medseg.review.edits import Change
from medseg.review.planes import BY_NAME, picture

GRID = Geometry((20, 24, 16), np.diag([-1.0, 1.5, 2.0, 1]))
AXIAL = BY_NAME["axial"]


def empty():
    return np.zeros(GRID.shape, np.uint8, order="F")  # as NIfTI files lie


@given(st.sampled_from("CF"), st.integers(0, 2**32 - 1))
def test_labels_are_counted_however_the_mask_lies_in_memory(order, seed):
    values = np.random.default_rng(seed).integers(0, 5, GRID.shape).astype(np.uint8)
    mask = np.array(values, order=order)
    counts = edits.label_counts(mask)
    assert [int((values == k).sum()) for k in range(5)] == counts[:5].tolist()
    first = edits.numbers_of(mask == 1)
    assert np.array_equal(first, np.flatnonzero(values.reshape(-1) == 1))


@given(st.lists(st.tuples(st.integers(0, 7679), st.integers(0, 9)), max_size=20), st.data())
def test_changes_survive_the_store_and_are_undone_to_the_voxel(places, data):
    mask = np.asfortranarray(np.random.default_rng(1).integers(0, 3, GRID.shape), np.uint8)
    before = mask.copy()
    voxels = np.unique(np.array([place for place, _ in places], np.int64))
    change = Change(voxels, np.full(voxels.size, data.draw(st.integers(0, 2)), np.uint16))
    change = Change.from_bytes(change.to_bytes())
    back = change.apply(mask)
    assert np.array_equal(mask.reshape(-1)[voxels], change.values)
    back.apply(mask)
    assert np.array_equal(mask, before)


def test_painted_runs_are_the_pixels_of_the_picture():
    mask = empty()
    edits.paint(mask, GRID, AXIAL, 5, [3, 4, 30, 2], 2).apply(mask)
    shown = picture(mask, GRID, AXIAL, 5).reshape(-1)
    assert np.flatnonzero(shown).tolist() == [3, 4, 5, 6, 30, 31]
    assert int((mask == 2).sum()) == 6


@pytest.mark.parametrize("runs", [[-1, 2], [478, 3], [0, -4], [0, 10**9]])
def test_runs_outside_the_picture_are_refused(runs):
    with pytest.raises(BadConfig, match="outside the picture"):
        edits.paint(empty(), GRID, AXIAL, 0, runs, 1)


def test_a_cone_drawn_at_its_ends_is_filled_in_between():
    mask = empty()
    x, y = np.meshgrid(np.arange(20), np.arange(24), indexing="ij")
    radius_mm = np.hypot(x - 9, 1.5 * (y - 12))
    mask[radius_mm < 4, 2] = 1
    mask[radius_mm < 8, 10] = 1
    edits.fill_between(mask, GRID, AXIAL, 6, 1).apply(mask)
    areas = [int((mask[..., z] == 1).sum()) for z in range(16)]
    assert areas[:2] == [0, 0] and areas[11:] == [0] * 5
    assert areas[2:11] == sorted(areas[2:11])
    # half way the radius is 6 mm: pi * 36 / 1.5 voxels, and a voxel's width of rounding
    assert areas[6] == pytest.approx(np.pi * 36 / 1.5, rel=0.2)


def test_filling_takes_no_voxel_from_another_label():
    mask = empty()
    mask[5:15, 5:15, [2, 6]] = 1
    mask[:, 10, 4] = 2
    edits.fill_between(mask, GRID, AXIAL, 4, 1).apply(mask)
    assert int((mask == 2).sum()) == 20
    assert (mask[5:15, 5:10, 3:6] == 1).all()


@pytest.mark.parametrize("position", [1, 2, 9])
def test_nothing_is_filled_without_a_drawn_slice_on_both_sides(position):
    mask = empty()
    mask[5:15, 5:15, [2, 6]] = 1
    with pytest.raises(BadConfig, match="nothing to fill"):
        edits.fill_between(mask, GRID, AXIAL, position, 1)


def test_islands():
    mask = empty()
    mask[1:4, 1:4, 1:4] = 1
    mask[10:16, 10:16, 10:14] = 1
    mask[18, 20, 2] = 2
    kept = mask.copy()
    edits.keep_largest(kept, 1).apply(kept)
    assert int((kept == 1).sum()) == 6 * 6 * 4 and int((kept == 2).sum()) == 1
    one = int(np.ravel_multi_index((2, 2, 2), GRID.shape))
    edits.remove_island(mask, one).apply(mask)
    assert np.array_equal(mask, kept)
    with pytest.raises(BadConfig, match="no island"):
        edits.remove_island(mask, one)


def test_labels_change_places():
    mask = empty()
    mask[:5] = 1
    mask[5:7] = 2
    mask[7:8] = 3
    edits.exchange(mask, 1, 2).apply(mask)
    assert [int((mask[k] == v).all()) for k, v in ((0, 2), (5, 1), (7, 3))] == [1, 1, 1]
