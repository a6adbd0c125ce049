"""With TorchIO itself: our reader in its images, its images as scans, its masks as files."""

import numpy as np
import pytest

from medseg.readers.labels import read_labels
from medseg.transforms.load import read_tensor
from medseg.volume import LabelMap, Volume
from tests.notebooks.test_libraries import LABELS, mask_on, scan_on
from tests.transforms.grids import NATIVE

torchio = pytest.importorskip("torchio", reason="TorchIO is not installed")


@pytest.mark.parametrize("native", NATIVE.values(), ids=NATIVE)
@pytest.mark.parametrize("channels", [1, 3])
def test_scans_and_masks_come_back_from_torchio(native, channels):
    scan, mask = scan_on(native, channels), mask_on(native)
    assert isinstance(scan.to("torchio"), torchio.ScalarImage)
    back = Volume.of(scan.to("torchio"))
    np.testing.assert_array_equal(back.values(), scan.values())
    np.testing.assert_allclose(back.affine, scan.affine)
    assert isinstance(mask.to("torchio"), torchio.LabelMap)
    twin = LabelMap.of(mask.to("torchio"), labels=LABELS)
    np.testing.assert_array_equal(twin.array, mask.array)


def test_a_torchio_pipeline_reads_with_us_and_saves_with_us(tmp_path):
    native = NATIVE["oblique"]
    scan_on(native).save(tmp_path / "scan.nrrd.nii.gz")
    mask_on(native).save(tmp_path / "mask.nrrd")
    subject = torchio.Subject(
        scan=torchio.ScalarImage(tmp_path / "scan.nrrd.nii.gz", reader=read_tensor),
        mask=torchio.LabelMap(tmp_path / "mask.nrrd", reader=read_tensor),
    )
    np.testing.assert_array_equal(subject.scan.data.numpy()[0], scan_on(native).array)
    flipped = torchio.Flip(axes=0)(subject)
    path = LabelMap.of(flipped.mask, labels=LABELS).save(tmp_path / "flipped.nii.gz")
    np.testing.assert_array_equal(read_labels(path).array, mask_on(native).array[::-1])
    assert read_labels(path).geometry.fits(native)
