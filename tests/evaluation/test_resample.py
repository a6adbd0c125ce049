"""Masks on a grid that is a little off keep the volume of their structures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.evaluation.resample import nearest
from medseg.geometry import Geometry
from medseg.volume import LabelMap


def moved(shape, origin, turn=None):
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3) if turn is None else turn
    affine[:3, 3] = origin
    return Geometry(shape, affine)


@given(
    plane=st.integers(0, 9),
    axis=st.integers(0, 2),
    offset=st.sampled_from((0.5, -0.5, 0.4999999, -0.5000001, 0.25, 0.0)),
    order=st.permutations(range(3)),
    backwards=st.tuples(*[st.booleans()] * 3),
    steps=st.tuples(*[st.sampled_from((1.0, 0.7, 2.5))] * 3),
)
def test_a_plane_stays_one_plane_at_every_place(plane, axis, offset, order, backwards, steps):
    """On whatever axis order and direction the prediction is stored, the outermost ones too."""
    data = np.zeros((10, 11, 12), np.uint8)
    data[(slice(None),) * axis + (plane,)] = 1
    origin = np.zeros(3)
    origin[axis] = offset * steps[axis]
    target = Geometry(
        data.shape, np.diag([*steps, 1.0]) + np.pad(origin[:, None], ((0, 1), (3, 0)))
    )
    affine, stored = np.diag([*steps, 1.0])[:, [*order, 3]], data.transpose(order)
    for stored_axis in range(3):
        if backwards[stored_axis]:
            affine[:3, 3] += affine[:3, stored_axis] * (stored.shape[stored_axis] - 1)
            affine[:3, stored_axis] *= -1
            stored = np.flip(stored, stored_axis)
    result = nearest(LabelMap(stored, Geometry(stored.shape, affine)), target)
    assert np.array_equal(
        result, nearest(LabelMap(data, Geometry(data.shape, np.diag([*steps, 1.0]))), target)
    )
    assert result.sum() == data.sum()


@pytest.mark.parametrize("degrees", [0, 17, 45])
def test_half_a_voxel_along_turned_axes_keeps_every_plane(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    for plane in range(10):
        data = np.zeros((10, 10, 10), np.uint8)
        data[plane] = 1
        target = moved((10,) * 3, turn @ [0.5, 0, 0], turn.astype(np.float32))
        assert nearest(LabelMap(data, moved((10,) * 3, (0, 0, 0), turn)), target).sum() == 100
