"""Bending, tapering and warping keep volumes: Monte Carlo against the formulas."""

import math

import numpy as np
import pytest

from medseg.phantoms.shapes import Form, Shape, random_warp, turned

SHAPES = {
    "ball": Shape((3, -2, 5), (10, 10, 10), np.eye(3)),
    "tilted ellipsoid": Shape((0, 4, 0), (20, 9, 13), turned(20, -35, 50)),
    "bean": Shape((1, 0, 0), (8, 9, 20), turned(10, 0, 0), bends=((0, 2, 0.5),)),
    "pear": Shape((0, 0, 0), (20, 12, 11), turned(0, 10, 30), taper=0.6),
    "all at once": Shape(
        (0, 3, 0), (18, 12, 14), turned(5, 9, -20), taper=-0.5, bends=((1, 0, 0.4), (2, 0, -0.2))
    ),
    "cylinder": Shape(
        (0, 0, 2), (8, 6, 20), turned(15, 0, 0), form=Form.CYLINDER, bends=((1, 2, 0.3),)
    ),
}


def fill(shape):
    """Points even over the shape's box, and the box's volume in ml."""
    low, high = shape.box_mm()
    points = np.random.default_rng(0).uniform(low, high, (200_000, 3))
    return points, float(np.prod(high - low)) / 1000


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_volume_is_that_of_the_formula(shape):
    points, box_ml = fill(shape)
    share = shape.inside(points).mean()
    error = 4 * math.sqrt(share * (1 - share) / len(points)) * box_ml  # four standard errors
    assert share * box_ml == pytest.approx(shape.volume_ml, abs=error)


def test_ball_volume_on_paper():
    assert SHAPES["ball"].volume_ml == pytest.approx(4.18879, abs=1e-5)  # 4/3 pi 10³ mm³


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_surface_lies_between_inside_and_outside(shape):
    assert shape.inside(shape.surface(400, margin=0.99)).all()
    assert not shape.inside(shape.surface(400, margin=1.01)).any()
    low, high = shape.box_mm()
    surface = shape.surface(400)
    assert (surface >= low - 1e-9).all() and (surface <= high + 1e-9).all()


def test_warp_keeps_volume_and_stays_within_reach():
    warp = random_warp(np.random.default_rng(3), shift_mm=7, amplitude_mm=6)
    points = np.random.default_rng(0).uniform(-150, 150, (300, 3))
    steps = 1e-4 * np.eye(3)
    columns = [(warp(points + step) - warp(points - step)) / 2e-4 for step in steps]
    assert np.linalg.det(np.stack(columns, axis=-1)) == pytest.approx(1, abs=1e-6)
    moved = np.abs(warp(points) - points + warp.offset_mm)
    assert (moved <= warp.reach_mm + 1e-9).all() and moved.max() > 1


def test_touching_is_seen():
    ball = SHAPES["ball"]

    def at(x):
        return Shape((x, -2, 5), (10, 10, 10), np.eye(3))

    assert ball.touches(at(24.5)) is False
    assert ball.touches(at(23.5)), "close counts"
    assert ball.touches(at(3)), "one in the other counts"


@pytest.mark.parametrize(
    "shape",
    [
        Shape((0, 0, 0), (50, 40, 3), np.eye(3), form=Form.RING),
        Shape((0, 0, 0), (50, 40, 30), np.eye(3), ripple=0.1),
    ],
    ids=["ring", "furrowed"],
)
def test_unknown_volume_is_not_guessed(shape):
    with pytest.raises(ValueError, match="not known"):
        _ = shape.volume_ml
