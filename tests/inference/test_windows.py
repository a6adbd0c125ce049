"""Windows cover the grid in order, and none with anything in it is skipped."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers.utils import _get_scan_interval

from medseg.errors import BadConfig
from medseg.geometry import working_grid
from medseg.inference.windows import empty_windows, importance, plan_windows
from medseg.volume import Volume
from tests.transforms.grids import NATIVE, grid, stored_otherwise

sizes = st.tuples(*[st.integers(1, 60)] * 3)
windows = st.tuples(*[st.integers(2, 24)] * 3)
overlaps = st.sampled_from([0.0, 0.25, 0.5, 0.625, 0.8])


@settings(max_examples=30)
@given(sizes, windows, overlaps)
def test_windows_lie_where_monai_lays_them(size, window, overlap):
    plan = plan_windows(size, window, overlap)
    padded = [max(n, w) for n, w in zip(size, window, strict=True)]
    interval = _get_scan_interval(padded, window, 3, [overlap] * 3)
    expected = {tuple(s.start for s in box) for box in dense_patch_slices(padded, window, interval)}
    assert set(plan.corners) == expected
    assert len(plan.corners) == len(expected)


@settings(max_examples=30)
@given(sizes, windows)
def test_the_order_runs_along_the_smallest_cross_section(size, window):
    plan = plan_windows(size, window, 0.5)
    along = [corner[plan.stream] for corner in plan.corners]
    assert along == sorted(along)
    assert plan.padded[plan.stream] == max(plan.padded)


def test_small_grids_repeat_their_border():
    plan = plan_windows((3, 8, 8), (6, 8, 8), 0.5)
    assert plan.padding == ((1, 2), (0, 0), (0, 0))
    image = torch.arange(3.0)[None, :, None, None].expand(1, 3, 8, 8)
    assert plan.pad(image)[0, :, 0, 0].tolist() == [0, 0, 1, 2, 2, 2]


def test_slices_are_windows_of_one_voxel():
    plan = plan_windows((20, 30, 7), (10, 12), 0.5, slice_axis=2)
    assert plan.window == (10, 12, 1)
    assert plan.stream == 2
    assert plan.starts[2] == tuple(range(7))


def test_a_window_of_the_wrong_dimension_is_refused():
    with pytest.raises(BadConfig, match="does not fit the network"):
        plan_windows((20, 30, 7), (10, 12), 0.5)
    with pytest.raises(BadConfig, match="2 positive numbers"):
        plan_windows((20, 30, 7), (10, 12, 4), 0.5, slice_axis=0)


@pytest.mark.parametrize("window", [(96, 96, 96), (7, 12, 1), (40, 56)])
@pytest.mark.parametrize("weighting", ["constant", "gaussian"])
def test_importance_is_monais(window, weighting):
    ours = importance(window, weighting)
    theirs = compute_importance_map(window, mode=weighting, sigma_scale=0.125, device="cpu")
    torch.testing.assert_close(ours.float(), theirs.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("native", NATIVE.values(), ids=NATIVE)
def test_no_window_with_anything_in_it_is_empty(native):
    rng = np.random.default_rng(1)
    working = working_grid(native, (1.3, 1.4, 1.5))
    plan = plan_windows(working.shape, (6, 6, 6), 0.5)
    for _ in range(5):
        bright = [rng.integers(0, n) for n in native.shape]
        data = np.full((2, *native.shape), -1000, np.int16)
        data[(1, *bright)] = 0
        volume = Volume(data, native)
        empty = empty_windows(plan, volume, working, -900)
        at = working.to_index(native.to_world(bright))
        for corner, is_empty in zip(plan.corners, empty, strict=True):
            first = np.array(corner) - [before for before, _ in plan.padding]
            inside = ((at > first - 0.5) & (at < first + np.array(plan.window) - 0.5)).all()
            assert not (inside and is_empty)


def test_empty_windows_are_found_in_real_world_values():
    native = grid((64, 64, 64))
    stored = np.zeros((1, 64, 64, 64), np.int16)
    stored[:, 10, 10, 10] = 1000
    plan = plan_windows(native.shape, (16, 16, 16), 0.0)
    for slope, intercept in ((1, -1024), (-1, 0)):
        volume = Volume(stored if slope > 0 else 1024 - stored, native, slope, intercept)
        empty = empty_windows(plan, volume, native, -900)
        assert not empty[plan.corners.index((0, 0, 0))]
        assert empty[plan.corners.index((48, 48, 48))]
        assert empty.sum() >= 64 - 8


@settings(max_examples=20)
@given(
    st.permutations([0, 1, 2]),
    st.tuples(*[st.booleans()] * 3),
    st.tuples(*[st.integers(9, 40)] * 3),
)
def test_windows_are_empty_in_whatever_order_the_scan_is_stored(axes, flips, shape):
    native = grid(shape, (1.0, 1.5, 2.5))
    data = np.random.default_rng(0).normal(-1000, 40, (1, *shape)).astype(np.float32)
    scan = Volume(data, native)
    twin = stored_otherwise(scan, axes, flips)
    answers = []
    for volume in (scan, twin):
        working = working_grid(volume.geometry, (2.0, 2.0, 3.0))
        plan = plan_windows(working.shape, (6, 6, 4), 0.5)
        answers.append(empty_windows(plan, volume, working, -900))
    assert (answers[0] == answers[1]).all()
