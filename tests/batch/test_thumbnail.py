"""The pictures of a case show the mask where it is, the patient's right on the left."""

import io

import numpy as np
import pytest
from PIL import Image

from medseg.batch.scrolling import paired_slices
from medseg.batch.slices import MOST_SLICES, column_of, slices_of
from medseg.batch.thumbnail import HEIGHT, depiction
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
    return depiction(volume)(mask).planes


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


def columns(volume, mask):
    """The slices of scan and labels as arrays (slices, rows, columns)."""
    slices = depiction(volume)(mask).slices
    number = column_of(io.BytesIO(slices.scan)).number
    arrays = [np.asarray(Image.open(io.BytesIO(each))) for each in (slices.scan, slices.labels)]
    assert arrays[0].shape == arrays[1].shape
    return [array.reshape(number, -1, array.shape[1]).astype(int) for array in arrays]


@pytest.mark.parametrize("finer", [(1, 1, 1), (1, 1, 12), (11, 1, 1)])  # beyond ENOUGH: thinned
@pytest.mark.parametrize("affine", AXES.values(), ids=AXES)
def test_slices_and_their_labels_lie_on_one_another(affine, finer):
    volume, mask = case(affine, finer=finer)
    scan, labels = columns(volume, mask)
    assert len(scan) <= MOST_SLICES
    mm = scan.shape[1] / 40
    # the slices are axial: the spot lies 12 mm towards the right, which is left, and 10 mm up
    row, column = np.argwhere(labels.any(0)).mean(0)
    assert (row, column) == pytest.approx(((20 - 10) * mm, (20 - 12) * mm), abs=0.7 * mm)
    bright = scan > 128
    assert (bright == (labels > 0)).mean() > 0.97  # JPEG and thinning move the rim


def test_slices_lie_across_thick_voxels():
    thick = np.array([[4.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    geometry = Geometry((6, 30, 20), thick)  # sagittal slices
    mask = LabelMap(np.zeros((6, 30, 20), np.uint8), geometry, RED)
    scan, labels = columns(Volume(np.zeros((1, 6, 30, 20), np.int16), geometry), mask)
    assert scan.shape == (6, 20, 30)  # superior up, anterior on the left
    assert not labels.any()


def test_a_truth_is_outlined_over_the_same_slices_as_the_prediction():
    volume, truth = case(AXES["LPS"])
    wider = np.roll(truth.data, 5, axis=2) | truth.data  # 5 mm further up
    drawn = paired_slices(volume, truth, LabelMap(wider, truth.geometry, RED))
    number = column_of(io.BytesIO(drawn.prediction.scan)).number
    filled, outline = (
        np.asarray(Image.open(io.BytesIO(each))).reshape(number, 40, 40)
        for each in (drawn.prediction.labels, drawn.truth)
    )
    assert drawn.column.number == number
    both = outline.any(axis=(1, 2)) & filled.any(axis=(1, 2))
    for line, area in zip(outline[both], filled[both], strict=True):
        rows, columns = np.nonzero(area)
        inner = area[rows.min() + 1 : rows.max(), columns.min() + 1 : columns.max()]
        assert (
            inner.all()
            and not line[rows.min() + 1 : rows.max(), columns.min() + 1 : columns.max()].any()
        )
        assert (line.astype(bool) <= area.astype(bool)).all()  # no pixel beyond the label
        assert line.sum() == area.sum() - inner.size
    assert filled.any(axis=(1, 2)).sum() > both.sum() > 3  # the prediction reaches further up


def test_labels_are_numbered_by_their_place_in_the_table():
    table = LabelTable.from_card({"labels": {"high": 65535, "low": 3}})
    values = np.array([[[0, 3], [65535, 7]]], np.uint16)
    drawn = slices_of(np.zeros(values.shape, np.uint8), values, (2, 2), table)
    places = np.asarray(Image.open(io.BytesIO(drawn.labels)))
    order = [label.name for label in table.labels]
    assert places.tolist() == [[0, order.index("low") + 1], [order.index("high") + 1, 0]]
