"""Is a mask file read as whole numbers, or refused with the value?"""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medseg.errors import BadLabels, BadScan
from medseg.readers.labels import read_labels

VALUES = np.arange(24).reshape(2, 3, 4) % 4


def save(path, data, *, slope=None, inter=0.0):
    image = nib.Nifti1Image(data, np.diag([2, 2, 3, 1]), dtype=data.dtype)
    if slope is not None:
        image.header.set_slope_inter(slope, inter)
    nib.save(image, path)
    return path


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "i8", "f4", "f8"])
def test_whole_numbers_are_read_from_any_type(tmp_path, dtype):
    labelmap = read_labels(save(tmp_path / "m.nii.gz", VALUES.astype(dtype)))
    assert np.array_equal(labelmap.data, VALUES)
    assert labelmap.data.dtype == np.uint8
    assert labelmap.labels is None


def test_large_labels_widen_the_type(tmp_path):
    labelmap = read_labels(save(tmp_path / "m.nii", (VALUES * 300).astype("i4")))
    assert np.array_equal(labelmap.data, VALUES * 300)
    assert labelmap.data.dtype == np.uint16


def test_scaled_labels_come_back_whole(tmp_path):
    stored = (VALUES * 16384).astype("u2")
    labelmap = read_labels(save(tmp_path / "m.nii", stored, slope=1 / 16384))
    assert np.array_equal(labelmap.data, VALUES)


def test_negative_label_is_refused_with_value_and_count(tmp_path):
    data = VALUES.astype("i2")
    data[0, 0, :3] = -2
    with pytest.raises(BadLabels, match=r"negative voxels; found 3 of them \(values -2\)"):
        read_labels(save(tmp_path / "m.nii", data))


def test_fractional_label_is_refused_with_value_and_count(tmp_path):
    data = VALUES.astype("f4")
    data[1, 1, 1:3] = 0.5, 1.25
    with pytest.raises(BadLabels, match=r"found 2 of them \(values 0\.5, 1\.25\)"):
        read_labels(save(tmp_path / "m.nii", data))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_label_that_is_not_finite_is_refused(tmp_path, value):
    data = VALUES.astype("f4")
    data[1, 1, 1] = value
    with pytest.raises(BadLabels, match="no whole numbers"):
        read_labels(save(tmp_path / "m.nii", data))


def test_label_beyond_any_table_is_refused(tmp_path):
    with pytest.raises(BadLabels, match="too large for a label; found 6 of them"):
        read_labels(save(tmp_path / "m.nii", (VALUES * 30000).astype("i4")))


@pytest.mark.parametrize("name", ["m.nrrd", "m.mha"])
def test_other_formats_are_read(tmp_path, name):
    sitk.WriteImage(sitk.GetImageFromArray(VALUES.T.astype("u1")), str(tmp_path / name))
    assert np.array_equal(read_labels(tmp_path / name).data, VALUES)


def test_mask_without_forms_keeps_its_voxel_sizes(tmp_path):
    image = nib.Nifti1Image(VALUES.astype("u1"), None)
    image.header.set_zooms((2, 3, 4))
    nib.save(image, tmp_path / "m.nii")
    labelmap = read_labels(tmp_path / "m.nii")
    assert labelmap.geometry.spacing_mm == (2, 3, 4)
    assert any("unknown" in warning for warning in labelmap.origin.warnings)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(BadScan, match="No such file"):
        read_labels(tmp_path / "m.nii.gz")
