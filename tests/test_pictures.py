"""One scan, one picture: sides where a radiologist expects them, shapes as in the world."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib import colors, image

from medseg.errors import GridMismatch
from medseg.geometry import Geometry
from medseg.pictures import (
    PALETTE,
    PREDICTION_COLOUR,
    TRUTH_COLOUR,
    Drawing,
    Layer,
    picture,
    prediction_layer,
    truth_layer,
)

GRIDS = {
    "RAS": np.diag([1.0, 1, 1, 1]),
    "LPS": np.diag([-1.0, -1, 1, 1]),
    "PIR": np.array([[0, 0, 1.0, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]]),
}


def scan_with_spot(affine, spot_mm, size=60.0):
    """A cube of 60 mm around the world's origin with one bright ball and a mask of it."""
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    shape = tuple(round(size / mm) for mm in steps)
    centred = affine.copy()
    centred[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    geometry = Geometry(shape, centred)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    world = geometry.to_world(index)
    ball = np.linalg.norm(world - np.array(spot_mm), axis=-1) <= 8
    return ball.astype(np.float32), geometry, ball.astype(np.uint8)


def pixels_of(png):
    return image.imread(io.BytesIO(png))[..., :3]


def panels(pixels):
    """The three planes: columns between black gaps, found by the frame's grey floor."""
    bright = (pixels.max(axis=2) > 0.02).any(axis=0)
    edges = np.flatnonzero(np.diff(np.r_[0, bright.astype(int), 0]))
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > 60]


def centre_of(pixels, columns):
    """Centre of brightness of a panel, from 0 to 1 across and (from the top) down."""
    part = pixels[:, columns[0] : columns[1]].min(axis=2)
    rows = np.flatnonzero((pixels[:, columns[0] : columns[1]].max(axis=2) > 0.02).any(axis=1))
    part = np.where(part > 0.9, 1.0, 0.0)[rows[0] : rows[-1] + 1]
    y, x = np.nonzero(part)
    return np.median(x) / part.shape[1], np.median(y) / part.shape[0]


def draw(affine, spot_mm):
    """The ball in grey surroundings, shown whole."""
    scan, geometry, mask = scan_with_spot(affine, spot_mm)
    full = np.ones(geometry.shape, np.uint8)
    frame = Layer("frame", full * 0, "#ffffff")
    return (
        pixels_of(picture(scan * 0.8 + 0.2, geometry, [frame], window=(0, 1)).png()),
        geometry,
        mask,
    )


@pytest.mark.parametrize("axes", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("spot", [(15, 0, 0), (0, 15, 0), (0, 0, 15), (-15, 0, 0)])
def test_sides_are_where_a_radiologist_expects_them(axes, spot):
    """Patient's right at left, anterior at top (axial) or left (sagittal), head at top."""
    pixels, _, _ = draw(axes, spot)
    axial, coronal, sagittal = panels(pixels)
    right, anterior, superior = (np.sign(v) for v in spot)
    for panel, across, up in (
        (axial, right, anterior),
        (coronal, right, superior),
        (sagittal, anterior, superior),
    ):
        x, y = centre_of(pixels, panel)
        if (across or up) and not np.isnan(x):
            assert np.sign(round(0.5 - x, 1)) == across
            assert np.sign(round(0.5 - y, 1)) == up


def test_a_ball_stays_round_on_an_anisotropic_grid():
    """3 mm slices: as wide as high, within a slice's thickness."""
    affine = np.diag([0.8, 0.8, 3.0, 1])
    pixels, _, _ = draw(affine, (0, 0, 0))
    for columns in panels(pixels):
        part = pixels[:, columns[0] : columns[1]].min(axis=2) > 0.6
        y, x = np.nonzero(part[:, 12:-12])  # without the letters at the sides
        core = (np.abs(x - np.median(x)) < 60) & (np.abs(y - np.median(y)) < 60)
        assert np.ptp(x[core]) / np.ptp(y[core]) == pytest.approx(1, abs=0.2)


def near(pixels, colour):
    return np.abs(pixels - colors.to_rgb(colour)).max(axis=2) < 0.12


def test_truth_and_prediction_have_their_colours():
    scan, geometry, mask = scan_with_spot(GRIDS["LPS"], (5, 5, 5))
    moved = np.roll(mask, 4, axis=0)
    pixels = pixels_of(picture(scan, geometry, [truth_layer(mask), prediction_layer(moved)]).png())
    assert near(pixels, TRUTH_COLOUR).sum() > 100
    assert near(pixels, PREDICTION_COLOUR).sum() > 100
    without = pixels_of(picture(scan, geometry, [prediction_layer(moved)]).png())
    assert near(without, TRUTH_COLOUR).sum() < 10


def test_labels_are_filled_with_their_own_colours():
    scan, geometry, mask = scan_with_spot(GRIDS["RAS"], (0, 0, 0))
    mask[: mask.shape[0] // 2] *= 2
    layer = Layer("labels", mask, {1: PALETTE[2], 2: PALETTE[5]}, Drawing.FILL)
    pixels = pixels_of(picture(scan, geometry, [layer]).png())
    assert near(pixels, PALETTE[2]).sum() > 50
    assert near(pixels, PALETTE[5]).sum() > 50


def test_an_empty_mask_shows_the_whole_scan():
    scan, geometry, mask = scan_with_spot(GRIDS["RAS"], (0, 0, 0))
    png = picture(scan, geometry, [truth_layer(mask * 0)]).png()
    assert png.startswith(b"\x89PNG")


@pytest.mark.parametrize("shape", [(1, 40, 40), (40, 1, 40), (200, 20, 3)])
def test_flat_and_long_scans_make_a_picture(shape):
    geometry = Geometry(shape, np.diag([1.0, 1, 4, 1]))
    mask = np.ones(shape, np.uint8)
    assert pixels_of(picture(np.zeros(shape), geometry, [truth_layer(mask)]).png()).shape[1] == 1080


def test_scans_that_are_not_finite_make_a_picture():
    geometry = Geometry((20, 20, 20), np.eye(4))
    scan = np.full((20, 20, 20), np.nan)
    assert picture(scan, geometry, []).png()


def test_a_mask_of_another_shape_is_refused():
    geometry = Geometry((20, 20, 20), np.eye(4))
    with pytest.raises(GridMismatch):
        picture(
            np.zeros((20, 20, 20)), geometry, [truth_layer(np.zeros((20, 20, 21), np.uint8))]
        ).png()


def test_arguments_are_left_as_they_are():
    scan, geometry, mask = scan_with_spot(GRIDS["PIR"], (3, 3, 3))
    before = scan.copy(), mask.copy()
    picture(scan, geometry, [truth_layer(mask)]).png()
    assert np.array_equal(scan, before[0])
    assert np.array_equal(mask, before[1])
