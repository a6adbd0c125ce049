"""The same scan gives the same values at the same places, whatever axis order, flip and format."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medseg.scans import read
from tests.readers.dicom_files import dataset_of, enhanced_of, save

SHAPE, SPACING_MM = (4, 5, 3), (0.75, 1.25, 2.5)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def nifti(data: np.ndarray, affine: np.ndarray, folder: Path) -> Path:
    nibabel.save(nibabel.Nifti1Image(data, affine), folder / "s.nii.gz")
    return folder / "s.nii.gz"


def qform_only(data: np.ndarray, affine: np.ndarray, folder: Path) -> Path:
    image = nibabel.Nifti1Image(data, None)
    image.set_qform(affine, 1)
    image.set_sform(None, 0)
    nibabel.save(image, folder / "s.nii")
    return folder / "s.nii"


def by_itk(ending: str) -> Callable[[np.ndarray, np.ndarray, Path], Path]:
    def write(data: np.ndarray, affine: np.ndarray, folder: Path) -> Path:
        image = sitk.GetImageFromArray(np.ascontiguousarray(data.T))
        steps = (LPS @ affine)[:3, :3]
        spacing = np.linalg.norm(steps, axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetDirection((steps / spacing).ravel().tolist())
        image.SetOrigin((LPS @ affine)[:3, 3].tolist())
        sitk.WriteImage(image, str(folder / f"s{ending}"))
        return folder / f"s{ending}"

    return write


def place(affine: np.ndarray) -> tuple[list[float], list[float]]:
    """Orientation and pixel spacing of slices whose columns and rows are the first two axes."""
    steps = (LPS @ affine)[:3, :3]
    spacing = np.linalg.norm(steps, axis=0)
    cosines = steps / spacing
    orientation = [*cosines[:, 0].round(12), *cosines[:, 1].round(12)]
    return orientation, [float(spacing[1].round(9)), float(spacing[0].round(9))]


def classic(data: np.ndarray, affine: np.ndarray, folder: Path) -> Path:
    for k in range(data.shape[2]):
        position = (LPS @ affine @ (0, 0, k, 1))[:3].round(9).tolist()
        dataset = dataset_of(k, pixels=data[:, :, k].T, position=position)
        dataset.ImageOrientationPatient, dataset.PixelSpacing = place(affine)
        save(dataset, folder / "dicom" / f"{k}")
    return folder / "dicom"


def enhanced(data: np.ndarray, affine: np.ndarray, folder: Path) -> Path:
    def change(dataset, _):
        orientation, spacing = place(affine)
        shared = dataset.SharedFunctionalGroupsSequence[0]
        shared.PlaneOrientationSequence[0].ImageOrientationPatient = orientation
        shared.PixelMeasuresSequence[0].PixelSpacing = spacing
        dataset.Rows, dataset.Columns = data.shape[1], data.shape[0]
        dataset.PixelData = data.T.astype("<i2").tobytes()  # (slices, rows, columns)

    frames = [
        {"k": k, "position": (LPS @ affine @ (0, 0, k, 1))[:3].round(9).tolist()}
        for k in range(data.shape[2])
    ]
    return save(enhanced_of(frames, change=change), folder / "enhanced" / "f")


FORMATS = {
    "NIfTI": nifti,
    "NIfTI by its qform": qform_only,
    "NRRD": by_itk(".nrrd"),
    "MetaImage": by_itk(".mha"),
    "DICOM": classic,
    "enhanced DICOM": enhanced,
}


@pytest.mark.parametrize("name", FORMATS)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    order=st.sampled_from(list(permutations(range(3)))),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    angles=st.tuples(*[st.floats(-80, 80)] * 3),
)
def test_axis_order_flips_and_turns_change_nothing(
    tmp_path_factory, monkeypatch, name, order, flips, angles
):
    folder = tmp_path_factory.mktemp("turned")
    monkeypatch.setenv("MEDSEG_CACHE", str(folder / "cache"))
    values = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * SPACING_MM
    affine[:3, 3] = (12.5, -30.25, 7.0)
    turn = np.zeros((4, 4))  # from the index of the turned array to that of the first
    turn[3, 3] = 1
    for axis, source in enumerate(order):
        turn[source, axis] = -1 if flips[axis] else 1
        turn[source, 3] = SHAPE[source] - 1 if flips[axis] else 0
    turned = np.flip(values.transpose(order), [axis for axis in range(3) if flips[axis]])
    scan = read(FORMATS[name](np.ascontiguousarray(turned), affine @ turn, folder))
    indices = np.indices(SHAPE).reshape(3, -1).T
    there = scan.geometry.to_index(indices @ affine[:3, :3].T + affine[:3, 3])
    # 1e-3 voxel: float32 headers of NIfTI, decimals of DICOM
    assert np.abs(there - np.rint(there)).max() < 1e-3
    x, y, z = np.rint(there).astype(int).T
    assert np.array_equal(scan.values()[0][x, y, z], values.ravel())
