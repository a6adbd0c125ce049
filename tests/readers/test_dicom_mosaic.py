"""The tiles of a mosaic land where each slice lay in the scanner."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from medseg.errors import BadScan
from medseg.scans import read
from tests.readers.dicom_files import dataset_of, save

ROWS, COLUMNS, COUNT, STEP_MM = 6, 5, 7, 3.0


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))


def csa(normal, *, second=True):
    """A vendor header with the two entries that matter, in either version of its layout."""
    entries = [
        ("NumberOfImagesInMosaic", [str(COUNT)]),
        ("SliceNormalVector", [f"{value:.8f}" for value in normal]),
    ]
    content = (b"SV10\4\3\2\1" if second else b"") + struct.pack("<2I", len(entries), 77)
    for name, values in entries:
        items = [value.encode() + b"\0" for value in values]
        content += name.encode().ljust(64, b"\0") + struct.pack(
            "<i4siii", len(values), b"DS\0\0", 3, len(items), 77
        )
        for item in items:
            length = len(item)
            shift = 0 if second else 1  # the first entry has one item
            content += struct.pack("<4i", length + shift, length, 77, length)
            content += item.ljust((length + 3) // 4 * 4, b"\0")
    return content


def mosaic(folder, *, normal=(0.0, 0.0, 1.0), second=True, change=None):
    """Seven 6 x 5 tiles in a 3 x 3 mosaic; tile k holds 100 * k + 10 * row + column."""
    tiles = np.zeros((3 * ROWS, 3 * COLUMNS), np.int16)
    for k in range(COUNT):
        row, column = k // 3 * ROWS, k % 3 * COLUMNS
        tiles[row : row + ROWS, column : column + COLUMNS] = (
            100 * k + 10 * np.arange(ROWS)[:, None] + np.arange(COLUMNS)
        )
    dataset = dataset_of(0, pixels=tiles)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    dataset.SpacingBetweenSlices = STEP_MM
    # the mosaic's corner, were it one big slice around the first one's centre
    dataset.ImagePositionPatient = [10.0 - 0.5 * COLUMNS, -20.0 - 0.8 * ROWS, 30.0]
    block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", csa(normal, second=second))
    if change is not None:
        change(dataset)
    return save(dataset, folder / "m.dcm")


@pytest.mark.parametrize("second", [True, False])
@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_tiles_become_slices_at_their_places(tmp_path, direction, second):
    scan = read(mosaic(tmp_path, normal=(0.0, 0.0, direction), second=second))
    assert scan.geometry.shape == (COLUMNS, ROWS, COUNT)
    assert "a mosaic was unpacked into 7 slices" in scan.origin.warnings
    for k in range(COUNT):
        world = [-10.0 - 0.5 * 2, 20.0 - 0.8 * 4, 30.0 + direction * STEP_MM * k]
        index = tuple(np.rint(scan.geometry.to_index(world)).astype(int))
        assert scan.data[0][index] == 100 * k + 10 * 4 + 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d.__delitem__((0x0029, 0x1010)), "mosaic .* private header"),
        (lambda d: delattr(d, "SpacingBetweenSlices"), "mosaic .* spacing between its slices"),
        (lambda d: setattr(d, "Rows", 17), "mosaic"),
        (lambda d: delattr(d, "ImagePositionPatient"), "mosaic without position"),
    ],
)
def test_a_mosaic_that_does_not_tell_enough_is_refused(tmp_path, change, told):
    with pytest.raises(BadScan, match=told):
        read(mosaic(tmp_path, change=change))


def test_a_normal_that_contradicts_the_slices_is_refused(tmp_path):
    with pytest.raises(BadScan, match="mosaic whose slice normal"):
        read(mosaic(tmp_path, normal=(0.0, 1.0, 0.0)))


def test_mosaics_of_several_time_points_are_refused_with_the_way_to_choose(tmp_path):
    for time in range(2):
        path = mosaic(
            tmp_path / "s",
            change=lambda d, t=time: [
                setattr(d, "SOPInstanceUID", f"2.25.7.{t}"),
                setattr(d, "AcquisitionNumber", t + 1),
            ],
        )
        path.rename(path.with_name(f"{time}.dcm"))
    with pytest.raises(BadScan, match=r"mosaics of several volumes.*--volume 0 … 1"):
        read(tmp_path / "s")
    assert read(tmp_path / "s", volume=1).geometry.shape == (COLUMNS, ROWS, COUNT)
