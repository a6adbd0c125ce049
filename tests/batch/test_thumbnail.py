"""Does the small picture show the mask where it is, the patient's right on the left?"""

import io

import numpy as np
import pytest
from PIL import Image

from medseg.batch.thumbnail import HEIGHT, thumbnail
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.volume import LabelMap, Origin, Volume

RED = LabelTable.from_card({"labels": {"spot": {"value": 1, "colour": "#ff0000"}}})
AXES = {
    "RAS": np.diag([1.0, 1.0, 1.0, 1.0]),
    "LPS": np.diag([-1.0, -1.0, 1.0, 1.0]),
    "SRA": np.array([[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=float),
}


def case(affine, *, with_mask=True, finer=(1, 1, 1)):
    """A 40 mm cube centred on the origin with a spot at (+12 R, +10 A, +8 S).

    `finer`: voxels a mm along each array axis.
    """
    shape = tuple(40 * n for n in finer)
    affine = affine @ np.diag([*(1 / n for n in finer), 1])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    geometry = Geometry(shape, affine)
    world = geometry.to_world(np.moveaxis(np.indices(shape), 0, -1))
    spot = (np.abs(world - [12, 10, 8]) < 4).all(-1) & with_mask
    data = np.where(spot, 100, 20).astype(np.int16)
    mask = LabelMap(spot.astype(np.uint8), geometry, RED)
    return Volume(data[None], geometry), mask


def drawn(volume, mask):
    return thumbnail(volume)(mask)


def red_pixels(jpeg):
    pixels = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(int)
    return np.argwhere((pixels[..., 0] > 150) & (pixels[..., 1] < 100)), pixels.shape


@pytest.mark.parametrize("finer", [(1, 1, 1), (1, 1, 12), (11, 1, 1)])  # beyond ENOUGH: thinned
@pytest.mark.parametrize("affine", AXES.values(), ids=AXES)
def test_the_contour_lies_where_the_spot_is_in_every_plane(affine, finer):
    found, shape = red_pixels(drawn(*case(affine, finer=finer)))
    assert shape[0] == HEIGHT
    tile = HEIGHT + 4  # three square planes and their gaps
    centres = [found[found[:, 1] // tile == plane].mean(0) % tile for plane in range(3)]
    # up: +10 A in the axial plane, +8 S in the others; left: +12 R, +12 R, +10 A
    mm = HEIGHT / 40
    expected = [(20 - 10, 20 - 12), (20 - 8, 20 - 12), (20 - 8, 20 - 10)]
    for centre, (row, column) in zip(centres, expected, strict=True):
        assert centre == pytest.approx((row * mm, column * mm), abs=0.7 * mm)  # JPEG, whole pixels


def test_of_a_long_scan_the_plane_of_the_mask_is_shown():
    volume, mask = case(AXES["SRA"], finer=(1, 1, 12))
    data = np.zeros_like(volume.data)
    at = int(np.argwhere(mask.data.any((0, 1))).mean())
    data[..., at - 60 : at + 60] = 100
    image = Image.open(io.BytesIO(drawn(Volume(data, volume.geometry), mask))).convert("L")
    sagittal = np.asarray(image)[:, 2 * (HEIGHT + 4) :]
    coronal = np.asarray(image)[:, HEIGHT + 4 : 2 * HEIGHT]
    assert np.median(coronal) > 200  # cut through the bright slab, which lies across A
    assert np.median(sagittal) < 50


def test_an_empty_mask_shows_the_middle_of_the_scan():
    found, shape = red_pixels(drawn(*case(np.eye(4), with_mask=False)))
    assert len(found) == 0
    assert shape[0] == HEIGHT


def test_odd_scans_are_drawn_too():
    for shape, value in [((1, 30, 20), 5), ((50, 40, 1), np.nan), ((2, 2, 300), 0)]:
        geometry = Geometry(shape, np.diag([0.5, 0.5, 5.0, 1.0]))
        data = np.full((1, *shape), value, dtype=np.float32)
        mask = LabelMap(np.zeros(shape, np.uint8), geometry, RED)
        assert drawn(Volume(data, geometry, origin=Origin(modality="CT")), mask)
