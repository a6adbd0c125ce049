"""Resampling between grids of one scan puts every value where it belongs."""

import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage

from medseg.errors import GridMismatch
from medseg.geometry import Alignment, canonical_grid, grid_map, working_grid
from medseg.transforms import resample as module
from medseg.transforms.kernels import axis_weights
from medseg.transforms.resample import resample
from tests.transforms.grids import NATIVE, grid

SPACING = (1.3, 1.4, 1.5)
everywhere = pytest.mark.parametrize("native", NATIVE.values(), ids=NATIVE)


def world_ramp(geometry):
    """A value that grows 2, -3 and 5 per mm along R, A and S."""
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1)
    return (geometry.to_world(index) @ [2.0, -3.0, 5.0])[None]


def inside(source, target, margin):
    """Target voxels at least `margin` source voxels within the source."""
    index = np.stack(np.meshgrid(*map(np.arange, target.shape), indexing="ij"), axis=-1)
    at = source.to_index(target.to_world(index))
    return ((at >= margin) & (at <= np.array(source.shape) - 1 - margin)).all(-1)


@everywhere
@pytest.mark.parametrize("kernel", ["linear", "cubic"])
@pytest.mark.parametrize("alignment", list(Alignment))
def test_a_ramp_in_the_world_stays_where_it_is(native, kernel, alignment):
    target = working_grid(native, SPACING, alignment=alignment)
    result = resample(world_ramp(native), native, target, kernel=kernel).numpy()[0]
    support = 1 if kernel == "linear" else 2
    reach = {m.source_axis: support + max(0, abs(m.step) - 1) for m in grid_map(native, target)}
    deep = inside(native, target, np.array([reach[axis] for axis in range(3)]))
    if deep.any():
        np.testing.assert_allclose(result[deep], world_ramp(target)[0][deep], atol=1e-9)
    else:
        assert min(native.shape) < 8  # too thin to have an interior


@everywhere
def test_a_constant_stays_constant_up_to_the_border(native):
    target = working_grid(native, SPACING)
    result = resample(np.full((1, *native.shape), -1024, np.int16), native, target, kernel="cubic")
    torch.testing.assert_close(result, torch.full_like(result, -1024), rtol=1e-6, atol=0)


@everywhere
def test_turning_and_mirroring_copies_every_bit(native):
    values = np.random.default_rng(1).normal(size=(2, *native.shape)).astype(np.float32)
    target = canonical_grid(native)
    there = resample(values, native, target)
    back = resample(there, target, native).numpy()
    assert np.array_equal(back, values)
    order = [m.source_axis for m in grid_map(native, target)]
    turned = values.transpose([0, *(1 + axis for axis in order)])
    flips = [-1 if m.step < 0 else 1 for m in grid_map(native, target)]
    assert np.array_equal(there.numpy(), turned[:, :: flips[0], :: flips[1], :: flips[2]])


@everywhere
def test_finer_grids_agree_with_scipy(native):
    values = np.random.default_rng(2).normal(size=(1, *native.shape))
    target = working_grid(native, (0.61, 0.57, 0.83))
    index = np.stack(np.meshgrid(*map(np.arange, target.shape), indexing="ij"), axis=-1)
    at = np.moveaxis(native.to_index(target.to_world(index)), -1, 0)
    expected = ndimage.map_coordinates(values[0], at, order=1, mode="nearest")
    result = resample(values, native, target, antialias=False)
    assert result.dtype == torch.float64
    np.testing.assert_allclose(result.numpy()[0], expected, atol=1e-6)


def test_cubic_reproduces_a_parabola_inside():
    native, target = grid((40, 3, 3)), grid((60, 3, 3), (0.6, 1, 1))
    parabola = np.broadcast_to((np.arange(40.0)[:, None, None] - 13) ** 2, native.shape)[None]
    result = resample(parabola, native, target, kernel="cubic").numpy()[0, :, 0, 0]
    at = grid_map(native, target)[0].source_index()
    deep = (at > 1) & (at < 38)
    np.testing.assert_allclose(result[deep], (at[deep] - 13) ** 2, atol=1e-9)


def test_shrinking_sees_what_lies_between_the_target_voxels():
    native, target = grid((64, 4, 4)), grid((16, 4, 4), (4, 1, 1))
    stripes = np.zeros((1, *native.shape), np.float32)
    stripes[:, 2::4] = 4.0  # every fourth plane; no target voxel lies on one
    smooth = resample(stripes, native, target).numpy()[0, 2:-2]
    np.testing.assert_allclose(smooth, 1.0, atol=0.1)  # the box is 3.87 voxels wide, not 4
    assert resample(stripes, native, target, antialias=False).max() == 0


@everywhere
def test_cutting_into_blocks_changes_nothing(native, monkeypatch):
    values = np.random.default_rng(3).integers(-1000, 3000, size=(2, *native.shape), dtype=np.int16)
    target = working_grid(native, SPACING)
    whole = resample(values, native, target)
    monkeypatch.setattr(module, "BLOCK_VOXELS", 500)
    monkeypatch.setattr(module, "BAND", 3)
    torch.testing.assert_close(resample(values, native, target), whole, rtol=1e-5, atol=1e-3)


def test_arrays_and_tensors_of_any_order_agree():
    native = NATIVE["sagittal first"]
    target = working_grid(native, SPACING)
    values = np.random.default_rng(4).normal(size=(1, *native.shape)).astype(np.float32)
    expected = resample(values, native, target)
    assert torch.equal(resample(np.asfortranarray(values), native, target), expected)
    assert torch.equal(resample(values[..., ::-1].copy()[..., ::-1], native, target), expected)
    assert torch.equal(resample(torch.from_numpy(values), native, target), expected)
    big_endian = values.astype(">f4")
    assert torch.equal(resample(big_endian, native, target), expected)


def test_weights_add_up_to_one():
    for native, kernel in itertools.product(NATIVE.values(), ["linear", "cubic"]):
        for axis in grid_map(native, working_grid(native, SPACING)):
            np.testing.assert_allclose(axis_weights(axis, kernel).weight.sum(1), 1, atol=1e-12)


def test_rotated_grids_are_refused():
    with pytest.raises(GridMismatch, match="rotated"):
        resample(np.zeros((1, 8, 8, 8)), grid((8, 8, 8)), grid((8, 8, 8), degrees=10))
