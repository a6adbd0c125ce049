"""Stored numbers become the values that were measured, and a scan is known by its pixels."""

import numpy as np
import pytest

from medseg.errors import BadGeometry, BadLabels
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.volume import LabelMap, Origin, Volume, pixel_hash
from tests.transforms.grids import grid

KIDNEYS = LabelTable.from_card({"labels": {"left kidney": 1, "right kidney": 2}})


def scan(codes="RAS", dtype=np.int16):
    """An off-centre bright block over a gradient, stored along `codes`."""
    values = np.add.outer(np.add.outer(np.arange(6) * 40, np.arange(5) * 7), np.arange(4)) - 1000
    values[4:, 3:, 2:] = 300
    order = ["RLAPSI".index(letter) // 2 for letter in codes]
    backwards = [letter in "LPI" for letter in codes]
    stored = values.transpose(order)[tuple(slice(None, None, -1 if b else 1) for b in backwards)]
    first = np.where([letter in codes for letter in "RAS"], 0, np.array(values.shape) - 1)
    spacing = np.array([1.0, 1.5, 3.0])
    geometry = grid(stored.shape, spacing[order], codes, origin=tuple(first * spacing))
    return Volume(stored[None].astype(dtype), geometry)


def test_values_are_what_the_scanner_measured():
    stored = np.array([0, 1024, 4095], np.uint16).reshape(1, 3, 1, 1)
    volume = Volume(stored, Geometry((3, 1, 1), np.eye(4)), slope=2.0, intercept=-1024.0)
    assert volume.values().ravel().tolist() == [-1024, 1024, 7166]
    assert volume.values().dtype == np.float32
    volume.values()[:] = 0
    assert volume.data.ravel().tolist() == [0, 1024, 4095], "values() must be a copy"


def test_a_float_scan_without_scaling_gives_a_copy_too():
    volume = Volume(np.ones((1, 2, 2, 2), np.float32), Geometry((2, 2, 2), np.eye(4)))
    volume.values()[:] = 0
    assert volume.data.all()


@pytest.mark.parametrize("codes", ["LPS", "PSR", "SAL", "IRP"])
def test_a_scan_keeps_its_hash_in_another_storage_order(codes):
    assert pixel_hash(scan(codes)) == pixel_hash(scan("RAS"))
    assert scan(codes).data.shape != scan().data.shape or codes == "LPS"


def test_a_scan_keeps_its_hash_in_another_number_format_and_scaling():
    one = scan()
    assert pixel_hash(scan(dtype=np.float32)) == pixel_hash(one)
    rescaled = Volume(((one.data + 1024) // 1).astype(np.uint16), one.geometry, 1.0, -1024.0)
    assert pixel_hash(rescaled) == pixel_hash(one)


def test_a_mirrored_or_changed_scan_has_another_hash():
    one = scan()
    mirrored = Volume(one.data[:, ::-1], one.geometry)
    changed = one.data.copy()
    changed[0, 5, 4, 3] += 1
    other_shape = Volume(one.data.reshape(1, 5, 6, 4), Geometry((5, 6, 4), np.eye(4)))
    hashes = {pixel_hash(v) for v in (one, mirrored, Volume(changed, one.geometry), other_shape)}
    assert len(hashes) == 4


def test_a_volume_in_ml_follows_the_determinant_on_a_sheared_grid():
    sheared = Geometry((10, 10, 10), [[1, 0, 0, 0], [0, 1, 2, 0], [0, 0, 5, 0], [0, 0, 0, 1]])
    data = np.zeros((10, 10, 10), np.uint8)
    data[:5, :4, :3] = 2
    mask = LabelMap(data, sheared, KIDNEYS)
    assert mask.volume_ml("right kidney") == pytest.approx(60 * 5 / 1000)
    assert mask.volume_ml("left kidney") == 0


def test_a_mask_is_named_only_by_a_table_that_names_every_value():
    data = np.zeros((3, 3, 3), np.int16)
    data[0, 0, 0] = 3
    mask = LabelMap(data, Geometry((3, 3, 3), np.eye(4)), origin=Origin(path="a.nii"))
    with pytest.raises(BadLabels, match=r"a\.nii: .*found \[3\]"):
        mask.named(KIDNEYS)
    with pytest.raises(BadLabels, match="no label table"):
        mask.volume_ml("left kidney")
    data[0, 0, 0] = 1
    assert mask.named(KIDNEYS).volume_ml("left kidney") == pytest.approx(0.001)


def test_arrays_that_do_not_fit_their_grid_are_refused():
    cube = Geometry((2, 3, 4), np.eye(4))
    with pytest.raises(BadGeometry, match=r"found \(2, 3, 4\), expected \('C', 2, 3, 4\)"):
        Volume(np.zeros((2, 3, 4)), cube)
    with pytest.raises(BadGeometry, match="found 1, expected 2"):
        Volume(np.zeros((2, 2, 3, 4)), cube, channels=("T1",))
    with pytest.raises(BadGeometry, match="does not fit"):
        LabelMap(np.zeros((4, 3, 2), int), cube)
    with pytest.raises(BadLabels, match="integers; found float32"):
        LabelMap(np.zeros((2, 3, 4), np.float32), cube)


def test_a_warning_is_added_to_those_there_are():
    volume = scan().with_warning("tilted").with_warning("thick")
    assert volume.origin.warnings == ("tilted", "thick")


def padded_scan(slope=1.0, intercept=0.0):
    """Two channels, of which a slab is padding; -3024 in real-world values."""
    data = np.random.default_rng(0).integers(-900, 1500, (2, 6, 5, 4)).astype(np.int16)
    data[:, :2] = round((-3024 - intercept) / slope)
    origin = Origin(padding_value=-3024.0)
    return Volume(data, Geometry((6, 5, 4), np.eye(4)), slope, intercept, origin=origin)


@pytest.mark.parametrize("scaling", [(1.0, 0.0), (2.0, -1024.0)])
def test_padding_takes_the_lowest_value_that_was_measured(scaling):
    volume = padded_scan(*scaling)
    inside = volume.values()[:, 2:]
    measured = volume.measured()
    assert (measured[:, :2] == inside.min()).all()
    np.testing.assert_array_equal(measured[:, 2:], inside)
    assert volume.values().min() == -3024, "the scan itself must stay as it was"


def test_a_part_is_measured_like_the_whole():
    volume = padded_scan()
    measure = volume.measuring()
    part = (1, slice(1, 4), slice(None), slice(2, 3))
    np.testing.assert_array_equal(measure(volume.data[part]), volume.measured()[part])
    turned = volume.data[0].transpose(2, 0, 1)[::-1]
    expected = volume.measured()[0].transpose(2, 0, 1)[::-1]
    np.testing.assert_array_equal(measure(turned), expected)


def test_a_scan_that_is_all_padding_or_has_none_stays_as_it_is():
    volume = padded_scan()
    volume.data[:] = -3024
    assert (volume.measured() == -3024).all()
    volume.data[:] = 7
    assert (volume.measured() == 7).all()
