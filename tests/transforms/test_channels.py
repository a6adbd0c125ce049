"""A scan keeps its place, its values and its edges on the grid of another one."""

import numpy as np
import pytest

from medseg.errors import GridMismatch
from medseg.geometry import Geometry
from medseg.transforms.channels import onto_grid
from medseg.volume import Origin, Volume
from tests.transforms.grids import grid

TARGET = grid((20, 18, 16), (1.5, 1.5, 2.0))
SOURCES = {
    "same axes": grid((30, 30, 30), (1.4, 1.3, 1.7), "RAS", origin=(8, -34, 3)),
    "stored otherwise": grid((30, 30, 30), (1.7, 1.4, 1.5), "SLP", origin=(48, 8, 2)),
    "turned": grid((40, 40, 24), (1.4, 1.4, 2.0), "LPS", degrees=25, origin=(40, 25, 3)),
    "turned and finer": grid((90, 90, 70), (0.6, 0.6, 0.7), degrees=-20, origin=(0, -30, 4)),
}


def ramp(geometry):
    """5 for each mm to the right, 3 forwards, -2 upwards: linear, so exact in between."""
    index = np.moveaxis(np.indices(geometry.shape), 0, -1)
    return (geometry.to_world(index) @ [5.0, 3.0, -2.0] + 40).astype(np.float32)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_every_voxel_keeps_its_place_in_the_world(source):
    moved = onto_grid(Volume(ramp(source)[None], source), TARGET)
    index = np.moveaxis(np.indices(TARGET.shape), 0, -1)
    there = source.to_index(TARGET.to_world(index))
    inner = ((there >= 4) & (there <= np.array(source.shape) - 5)).all(-1)  # away from the border
    assert inner.mean() > 0.3
    np.testing.assert_allclose(moved.data[0][inner], ramp(TARGET)[inner], atol=0.05)


def test_a_finer_scan_is_averaged_not_picked():
    source = SOURCES["turned and finer"]
    noise = np.random.default_rng(0).normal(0, 100, (1, *source.shape)).astype(np.float32)
    moved = onto_grid(Volume(noise, source), TARGET).data[0, 6:-6, 6:-6, 6:-6]
    # a target voxel sees some 2.5 x 2.5 x 2.9 of them: below a third of the noise is left
    assert moved.std() < 33


def test_padding_is_not_smeared_into_the_anatomy():
    source = SOURCES["same axes"]
    data = np.full((1, *source.shape), 50, np.int16)
    data[:, :12] = -2000
    data[:, 12:14] = -10
    scan = Volume(data, source, origin=Origin(padding_value=-2000.0))
    moved = onto_grid(scan, TARGET)
    assert moved.data.min() >= -10.001  # float32
    assert moved.origin.padding_value is None


def test_scaled_numbers_come_as_real_world_values():
    source = SOURCES["turned"]
    scan = Volume(np.full((1, *source.shape), 7, np.int16), source, slope=2.0, intercept=-1.0)
    moved = onto_grid(scan, TARGET)
    assert (moved.slope, moved.intercept) == (1.0, 0.0)
    np.testing.assert_allclose(moved.data, 13, rtol=1e-6)


def test_what_the_scan_does_not_cover_is_told_or_refused():
    half = Geometry((10, 18, 16), TARGET.affine)
    moved = onto_grid(Volume(np.ones((1, *half.shape), np.float32), half), TARGET)
    assert "does not cover 50% of the grid" in moved.origin.warnings[0]
    far = grid((20, 18, 16), origin=(500, 0, 0))
    with pytest.raises(GridMismatch, match="no common place"):
        onto_grid(Volume(np.ones((1, *far.shape), np.float32), far), TARGET)
