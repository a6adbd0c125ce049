import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import BadConfig
from medseg.geometry import Geometry
from medseg.review.planes import BY_NAME, canonical_shape, picture, voxels


@st.composite
def grids(draw):
    axes = draw(st.permutations(range(3)))
    signs = draw(st.lists(st.sampled_from([-1, 1]), min_size=3, max_size=3))
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[list(axes)] * signs * [0.7, 1.3, 2.9]
    return Geometry(tuple(draw(st.lists(st.integers(1, 5), min_size=3, max_size=3))), affine)


@given(grids(), st.sampled_from(sorted(BY_NAME)), st.data())
def test_a_pixel_is_the_voxel_that_the_picture_shows(grid, name, data):
    plane = BY_NAME[name]
    position = data.draw(st.integers(0, canonical_shape(grid)[plane.cut] - 1))
    numbers = np.arange(grid.voxels).reshape(grid.shape)
    shown = picture(numbers, grid, plane, position)
    pixels = np.arange(shown.size)
    assert np.array_equal(voxels(pixels, grid, plane, position), shown.reshape(-1))


@given(grids())
def test_the_patients_right_and_front_lie_on_the_left_and_up_is_up(grid):
    world = grid.to_world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1))
    for plane in BY_NAME.values():
        across = picture(world[..., plane.across], grid, plane, 0)
        up = picture(world[..., plane.up], grid, plane, 0)
        assert (np.diff(across, axis=1) < 0).all()  # R (or A) is large on the left
        assert (np.diff(up, axis=0) < 0).all()  # A (or S) is large on top


def test_pictures_are_views_and_cuts_count_from_left_posterior_inferior():
    grid = Geometry((2, 3, 4), np.diag([-1.0, 1, -1, 1]))
    data = np.arange(24).reshape(grid.shape)
    assert picture(data, grid, BY_NAME["axial"], 0).base is not None
    assert grid.canonical(data)[0, 0, 0] == data[1, 0, 3]


@pytest.mark.parametrize("position", [-1, 4])
def test_a_cut_outside_is_refused(position):
    grid = Geometry((4, 4, 4), np.eye(4))
    with pytest.raises(BadConfig, match="no such axial slice"):
        picture(np.zeros(grid.shape), grid, BY_NAME["axial"], position)


def test_pixels_outside_are_refused():
    grid = Geometry((4, 4, 4), np.eye(4))
    with pytest.raises(BadConfig, match="outside the picture"):
        voxels(np.array([16]), grid, BY_NAME["axial"], 0)
