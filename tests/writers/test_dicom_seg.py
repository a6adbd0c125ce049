"""A DICOM SEG puts every voxel where the NIfTI mask has it, as other programs read it."""

import shutil
import subprocess
import sys
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage

from medseg.errors import BadLabels, BadOutput
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.scans import read
from medseg.volume import LabelMap, Origin
from medseg.writers import write_labels
from medseg.writers.dicom_series import write_dicom_series
from tests.writers.scans import GRIDS, SHAPE, TILTED, scan

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
KIDNEY = ["SCT", "64033007", "Kidney"]
FEW = LabelTable.from_card(
    {
        "labels": {
            "left kidney": {"value": 2, "code": KIDNEY, "colour": "#ff8000"},
            "right kidney": {"value": 5, "code": KIDNEY},
            "something": 7,
        }
    }
)
MANY = LabelTable.from_card({"labels": {f"organ {n}": 3 * n for n in range(1, 46)}})


def mask_on(volume, table):
    """Random labels, the first and last slice empty: frames without a voxel are left out."""
    rng = np.random.default_rng(3)
    data = rng.choice([0, *table.values], volume.geometry.shape).astype(np.uint8)
    data[:, :, [0, -1]] = 0
    return LabelMap(data, volume.geometry, table, volume.origin)


def enhanced_from(files, path, *, order):
    """One enhanced CT file of the slices of a classic series, in any order of frames."""
    slices = [pydicom.dcmread(files[k]) for k in order]
    merged = pydicom.dcmread(files[0])
    for name in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "SliceThickness",
        "RescaleSlope",
        "RescaleIntercept",
        "RescaleType",
    ):
        delattr(merged, name)
    merged.SOPClassUID = merged.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    merged.NumberOfFrames = len(slices)
    merged.PixelData = b"".join(one.PixelData for one in slices)
    merged.SharedFunctionalGroupsSequence = [Dataset()]
    merged.PerFrameFunctionalGroupsSequence = [
        _frame_groups(one, number) for number, one in enumerate(slices, start=1)
    ]
    merged.save_as(path)
    return path


def _frame_groups(one, number):
    groups = Dataset()
    for sequence, names in {
        "PlanePositionSequence": ["ImagePositionPatient"],
        "PlaneOrientationSequence": ["ImageOrientationPatient"],
        "PixelMeasuresSequence": ["PixelSpacing", "SliceThickness"],
        "PixelValueTransformationSequence": ["RescaleSlope", "RescaleIntercept", "RescaleType"],
    }.items():
        item = Dataset()
        for name in names:
            item[name] = one[name]
        setattr(groups, sequence, [item])
    content = Dataset()
    content.StackID, content.InStackPositionNumber = "1", number
    content.FrameAcquisitionNumber, content.DimensionIndexValues = 1, [1, number]
    groups.FrameContentSequence = [content]
    return groups


def assert_same_voxels(data, affine, nifti_path, table):
    """Each labelled voxel of a SEG lies on one of the NIfTI mask's with its label, and back.

    Segment n of a SEG is the n-th label of the table.
    """
    image = nib.load(nifti_path)
    expected = np.searchsorted([0, *table.values], np.asarray(image.dataobj))
    index = np.argwhere(data)
    there = nib.affines.apply_affine(np.linalg.inv(image.affine) @ affine, index)
    # 0.05 voxels: what readers allow slices to stray from even spacing
    assert np.abs(there - np.rint(there)).max() < 0.05
    found = np.zeros_like(expected)
    found[tuple(np.rint(there).astype(int).T)] = data[tuple(index.T)]
    assert len(index) == np.count_nonzero(expected)
    assert np.array_equal(found, expected)


def dcmqi_reader():
    """The program by its name, or beside this Python; the test is skipped where absent."""
    program = shutil.which("segimage2itkimage") or shutil.which(
        "segimage2itkimage", path=Path(sys.executable).parent
    )
    if program is None:
        pytest.skip("dcmqi is not installed: pip install dcmqi")
    return program


@pytest.fixture(
    scope="module",
    params=[
        "axial LPS",
        "axial, feet last",
        "sagittal",
        "oblique",
        "oblique mirrored",
        "enhanced",
        "enhanced, frames shuffled",
        "many labels",
    ],
)
def written(request, tmp_path_factory):
    """A SEG and the NIfTI mask of the same labels, for each kind of source."""
    kind = request.param
    tmp_path = tmp_path_factory.mktemp("seg")
    files = write_dicom_series(
        scan(GRIDS.get(kind, GRIDS["oblique"])), tmp_path / "classic", ending=""
    )
    source = tmp_path / "classic"
    if kind.startswith("enhanced"):
        order = [3, 0, 4, 1, 2] if "shuffled" in kind else range(5)
        source = enhanced_from(files, tmp_path / "enhanced.dcm", order=order)
    volume = read(source)
    assert len(volume.origin.instances) == (1 if kind.startswith("enhanced") else 5)
    labelmap = mask_on(volume, MANY if kind == "many labels" else FEW)
    write_labels(labelmap, tmp_path / "m.nii.gz")
    write_labels(labelmap, tmp_path / "m.dcm", format="dicom-seg")
    return tmp_path, labelmap


def test_highdicom_reads_the_same_voxels(written):
    folder, labelmap = written
    segmentation = highdicom.seg.segread(folder / "m.dcm")
    volume = segmentation.get_volume(combine_segments=True)
    assert_same_voxels(
        volume.array, LPS_TO_RAS @ volume.affine, folder / "m.nii.gz", labelmap.labels
    )


def test_dcmqi_reads_the_same_voxels(written):
    folder, labelmap = written
    program = dcmqi_reader()
    (folder / "out").mkdir()
    done = subprocess.run(
        [
            program,
            "--inputDICOM",
            folder / "m.dcm",
            "--outputDirectory",
            folder / "out",
            "--outputType",
            "nii",
            "--mergeSegments",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [image_path] = (folder / "out").glob("*.nii.gz")
    image = nib.load(image_path)
    assert_same_voxels(
        np.asarray(image.dataobj), image.affine, folder / "m.nii.gz", labelmap.labels
    )


def test_every_frame_names_its_source(written):
    folder, labelmap = written
    segmentation = pydicom.dcmread(folder / "m.dcm")
    sources = [
        pydicom.dcmread(source.path, stop_before_pixels=True)
        for source in labelmap.origin.instances.sources
    ]
    known = {source.SOPInstanceUID: source for source in sources}
    frames = segmentation.PerFrameFunctionalGroupsSequence
    assert len(frames) > 0
    for frame in frames:
        item = frame.DerivationImageSequence[0].SourceImageSequence[0]
        source = known[item.ReferencedSOPInstanceUID]
        if "ReferencedFrameNumber" in item:
            source = source.PerFrameFunctionalGroupsSequence[
                item.ReferencedFrameNumber - 1
            ].PlanePositionSequence[0]
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        assert np.allclose(position, source.ImagePositionPatient, atol=1e-4)
    assert segmentation.StudyInstanceUID == sources[0].StudyInstanceUID
    assert segmentation.FrameOfReferenceUID == sources[0].FrameOfReferenceUID


def test_segments_carry_name_code_side_and_colour(tmp_path):
    write_dicom_series(scan(GRIDS["axial LPS"]), tmp_path / "s")
    write_labels(mask_on(read(tmp_path / "s"), FEW), tmp_path / "m.dcm", format="dicom-seg")
    left, right, other = highdicom.seg.segread(tmp_path / "m.dcm").SegmentSequence
    assert [left.SegmentLabel, right.SegmentLabel, other.SegmentLabel] == list(FEW.names)
    assert left.SegmentedPropertyTypeCodeSequence[0].CodeValue == "64033007"
    modifier = "SegmentedPropertyTypeModifierCodeSequence"
    sides = [
        one.SegmentedPropertyTypeCodeSequence[0][modifier][0].CodeMeaning for one in (left, right)
    ]
    assert sides == ["Left", "Right"]
    assert other.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Tissue"
    colour = highdicom.color.CIELabColor.from_dicom_value(left.RecommendedDisplayCIELabValue)
    assert np.abs(np.array(colour.to_rgb()) - (255, 128, 0)).max() <= 2  # 16-bit CIELab


def test_writing_twice_makes_one_object(tmp_path):
    write_dicom_series(scan(GRIDS["axial LPS"]), tmp_path / "s")
    labelmap = mask_on(read(tmp_path / "s"), FEW)
    for name in ("a.dcm", "b.dcm"):
        write_labels(labelmap, tmp_path / name, format="dicom-seg")
    other = LabelMap(labelmap.data[::-1], labelmap.geometry, FEW, labelmap.origin)
    write_labels(other, tmp_path / "c.dcm", format="dicom-seg")
    a, b, c = (pydicom.dcmread(tmp_path / f"{name}.dcm").SOPInstanceUID for name in "abc")
    assert a == b != c


def test_empty_mask_is_written_with_its_segments(tmp_path):
    write_dicom_series(scan(GRIDS["axial LPS"]), tmp_path / "s")
    volume = read(tmp_path / "s")
    empty = LabelMap(np.zeros(SHAPE, np.uint8), volume.geometry, FEW, volume.origin)
    write_labels(empty, tmp_path / "m.dcm", format="dicom-seg")
    segmentation = highdicom.seg.segread(tmp_path / "m.dcm")
    assert segmentation.number_of_segments == 3
    assert segmentation.get_volume(combine_segments=True).array.max() == 0


def test_poor_headers_and_odd_names_are_served_in_silence(tmp_path, recwarn):
    for file in write_dicom_series(scan(GRIDS["axial LPS"]), tmp_path / "s"):
        dataset = pydicom.dcmread(file)
        dataset.PatientName = "Jane"
        dataset.SpecificCharacterSet = ""
        for name in (
            "PatientID",
            "StudyDate",
            "AccessionNumber",
            "SliceThickness",
            "FrameOfReferenceUID",
        ):
            delattr(dataset, name)
        dataset.save_as(file)
    write_labels(mask_on(read(tmp_path / "s"), FEW), tmp_path / "m.dcm", format="dicom-seg")
    assert not [warning for warning in recwarn if "Jane" in str(warning.message)]
    assert str(pydicom.dcmread(tmp_path / "m.dcm").PatientName) == "Jane"


def test_tilted_grid_is_refused(tmp_path):
    write_dicom_series(scan(TILTED), tmp_path / "s")
    labelmap = mask_on(read(tmp_path / "s"), FEW)
    with pytest.raises(BadOutput, match=r"sheared \(gantry tilt\)"):
        write_labels(labelmap, tmp_path / "m.dcm", format="dicom-seg")
    assert not (tmp_path / "m.dcm").exists()


def test_mask_of_another_grid_is_refused(tmp_path):
    files = write_dicom_series(scan(GRIDS["axial LPS"]), tmp_path / "s")
    labelmap = mask_on(read(tmp_path / "s"), FEW)
    moved = labelmap.geometry.affine.copy()
    moved[2, 3] += 1
    elsewhere = LabelMap(labelmap.data, Geometry(SHAPE, moved), FEW)
    mirrored = LabelMap(
        labelmap.data, Geometry(SHAPE, labelmap.geometry.affine @ np.diag([-1, 1, 1, 1])), FEW
    )
    for labels in (elsewhere, mirrored):
        with pytest.raises(BadOutput, match="not the frames of its source"):
            write_labels(labels, tmp_path / "m.dcm", format="dicom-seg", source=files)


def test_mask_of_no_dicom_source_is_refused(tmp_path):
    labelmap = LabelMap(np.ones(SHAPE, np.uint8), Geometry(SHAPE, np.eye(4)), FEW)
    with pytest.raises(BadOutput, match="no DICOM series"):
        write_labels(labelmap, tmp_path / "m.dcm", format="dicom-seg")
    gone = LabelMap(labelmap.data, labelmap.geometry, FEW, Origin())
    with pytest.raises(BadOutput, match="cannot be read any more"):
        write_labels(gone, tmp_path / "m.dcm", format="dicom-seg", source=["gone.dcm"])


def test_source_without_its_uids_is_refused(tmp_path):
    files = write_dicom_series(scan(GRIDS["axial LPS"]), tmp_path / "s")
    labelmap = mask_on(read(tmp_path / "s"), FEW)
    dataset = pydicom.dcmread(files[1])
    dataset.SOPInstanceUID = ""
    dataset.save_as(files[1], enforce_file_format=False)
    with pytest.raises(BadOutput, match="has changed since"):
        write_labels(labelmap, tmp_path / "m.dcm", format="dicom-seg")
    with pytest.raises(BadOutput, match="lacks one of them"):
        write_labels(labelmap, tmp_path / "m.dcm", format="dicom-seg", source=files)


def test_mask_without_names_is_refused(tmp_path):
    labelmap = LabelMap(np.ones(SHAPE, np.uint8), Geometry(SHAPE, np.eye(4)))
    with pytest.raises(BadLabels, match="names for its labels"):
        write_labels(labelmap, tmp_path / "m.dcm", format="dicom-seg")
