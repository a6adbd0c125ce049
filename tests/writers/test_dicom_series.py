"""A written DICOM series is what other programs and our reader understand."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from medseg.errors import BadOutput
from medseg.geometry import Geometry
from medseg.scans import read
from medseg.volume import Volume
from medseg.writers.dicom_series import write_dicom_series
from tests.writers.scans import GRIDS, SHAPE, TILTED, scan


@pytest.mark.parametrize("grid", GRIDS)
def test_itk_sees_the_voxels_where_they_are(tmp_path, grid):
    volume = scan(GRIDS[grid])
    files = write_dicom_series(volume, tmp_path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(file) for file in files])
    image = reader.Execute()
    assert np.array_equal(sitk.GetArrayFromImage(image).T, volume.data[0])
    for index in ((0, 0, 0), (6, 0, 0), (0, 5, 0)):
        world = np.array(image.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        assert np.allclose(world, volume.geometry.to_world(index), atol=1e-6)
    # The direction of slices is the reader's own guess; their positions are in the files.
    last = pydicom.dcmread(files[-1]).ImagePositionPatient
    assert np.allclose(
        np.array(last, float) * (-1, -1, 1), volume.geometry.to_world((0, 0, 4)), atol=1e-9
    )


@pytest.mark.parametrize("grid", [*GRIDS, "tilted"])
def test_our_reader_gives_the_volume_back(tmp_path, grid):
    volume = scan(TILTED if grid == "tilted" else GRIDS[grid])
    write_dicom_series(volume, tmp_path, modality="CT")
    back = read(tmp_path)
    assert sorted(back.values().ravel()) == sorted(volume.values().ravel())
    for index in np.ndindex(SHAPE):
        there = np.rint(back.geometry.to_index(volume.geometry.to_world(index))).astype(int)
        assert np.allclose(
            back.geometry.to_world(there), volume.geometry.to_world(index), atol=1e-6
        )
        assert back.values()[0][tuple(there)] == volume.data[0][index]
    assert back.origin.modality == "CT"


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_fractions_keep_the_16_bits_of_their_range(tmp_path, modality):
    data = np.random.default_rng(0).normal(0, 700, SHAPE).astype(np.float32)
    write_dicom_series(scan(GRIDS["oblique"], data), tmp_path, modality=modality)
    back = read(tmp_path).values()[0]
    step = (data.max() - data.min()) / 65534
    # half a step of rounding, and float32's own
    assert np.abs(np.sort(back.ravel()) - np.sort(data.ravel())).max() < 0.51 * step + 1e-3


def test_equal_seeds_give_equal_files(tmp_path):
    volume = scan(GRIDS["oblique"])
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_dicom_series(volume, tmp_path / folder, seed=seed, ending="")
    one, two, other = (sorted((tmp_path / name).iterdir()) for name in "abc")
    assert [file.name for file in one] == ["0001", "0002", "0003", "0004", "0005"]
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in two]
    uids = {pydicom.dcmread(file).SOPInstanceUID for file in one + other}
    assert len(uids) == 10


def test_series_of_one_seed_share_study_and_frame_of_reference(tmp_path):
    volume = scan(GRIDS["oblique"])
    one = pydicom.dcmread(write_dicom_series(volume, tmp_path / "1", modality="MR", series=1)[0])
    two = pydicom.dcmread(write_dicom_series(volume, tmp_path / "2", modality="MR", series=2)[0])
    assert one.StudyInstanceUID == two.StudyInstanceUID
    assert one.FrameOfReferenceUID == two.FrameOfReferenceUID
    assert one.SeriesInstanceUID != two.SeriesInstanceUID


def test_padding_value_comes_back(tmp_path):
    volume = scan(GRIDS["axial LPS"], padding_value=-2000.0)
    volume.data[0, 0] = -2000
    write_dicom_series(volume, tmp_path)
    assert read(tmp_path).origin.padding_value == -2000


def test_several_channels_are_refused(tmp_path):
    volume = Volume(np.zeros((2, *SHAPE), np.int16), Geometry(SHAPE, np.eye(4)))
    with pytest.raises(BadOutput, match="one channel"):
        write_dicom_series(volume, tmp_path)


def test_rows_askew_to_columns_are_refused(tmp_path):
    with pytest.raises(BadOutput, match="right angles"):
        write_dicom_series(scan(np.array([[1, 0.3, 0], [0, 1, 0], [0, 0, 1]])), tmp_path)
