"""An RTSTRUCT gives every voxel of its mask back, by our reader and by even-odd filling."""

import shutil
import subprocess
import zipfile

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medseg.errors import BadLabels, BadOutput
from medseg.labels import LabelTable
from medseg.readers.labels import read_labels
from medseg.scans import read
from medseg.volume import LabelMap, Origin
from medseg.writers import check_source, write_labels
from medseg.writers.dicom_series import write_dicom_series
from medseg.writers.rtstruct_contours import closed_lines
from tests.writers.scans import GRIDS, SHAPE, TILTED, scan
from tests.writers.test_dicom_seg import FEW, enhanced_from, mask_on

PLANES = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def even_odd(lines, shape):
    """Voxel centres inside an odd number of lines, by counting crossings to the right."""
    inside = np.zeros(shape, int)
    a, b = (part.astype(float) for part in np.indices(shape))
    for line in lines:
        for (a0, b0), (a1, b1) in zip(line, np.roll(line, -1, axis=0), strict=True):
            if b0 == b1:
                continue
            straddles = (b0 > b) != (b1 > b)
            at = a0 + (b - b0) * (a1 - a0) / (b1 - b0)
            inside += straddles & (at > a)
    return inside % 2 == 1


@given(PLANES)
def test_voxel_centres_inside_the_lines_are_the_mask(plane):
    np.testing.assert_array_equal(even_odd(closed_lines(plane), plane.shape), plane)


@given(PLANES)
def test_every_vertex_rounds_to_a_voxel_of_the_mask(plane):
    for line in closed_lines(plane):
        assert plane[tuple(np.rint(line).astype(int).T)].all()


def test_a_hole_with_an_island_in_it_is_two_lines():
    plane = np.ones((9, 9), bool)
    plane[2:7, 2:7] = False
    plane[4, 4] = True
    lines = closed_lines(plane)
    assert len(lines) == 2
    np.testing.assert_array_equal(even_odd(lines, plane.shape), plane)


def test_straight_edges_have_no_points_between_corners():
    (line,) = closed_lines(np.ones((20, 30), bool))
    assert len(line) == 8  # a corner is cut by half a voxel, which makes two points


@pytest.mark.parametrize("axes", [*GRIDS.values(), TILTED], ids=[*GRIDS, "tilted gantry"])
def test_a_mask_comes_back_voxel_for_voxel(tmp_path, axes):
    files = write_dicom_series(scan(axes), tmp_path / "series")
    volume = read(tmp_path / "series")
    mask = mask_on(volume, FEW)
    assert write_labels(mask, tmp_path / "mask.dcm", format="rtstruct") == ()
    back = read_labels(tmp_path / "mask.dcm", labels=FEW, grid=volume.geometry)
    np.testing.assert_array_equal(back.array, mask.array)
    assert len(files) == SHAPE[2]


def test_it_says_names_colours_codes_and_what_it_lies_in(tmp_path):
    write_dicom_series(scan(GRIDS["oblique"]), tmp_path / "series")
    volume = read(tmp_path / "series")
    write_labels(mask_on(volume, FEW), tmp_path / "mask.dcm", format="rtstruct")
    made = pydicom.dcmread(tmp_path / "mask.dcm")
    source = [pydicom.dcmread(path) for path in (tmp_path / "series").iterdir()]
    assert [item.ROIName for item in made.StructureSetROISequence] == list(FEW.names)
    assert list(made.ROIContourSequence[0].ROIDisplayColor) == [255, 128, 0]
    observation = made.RTROIObservationsSequence[0]
    assert observation.RTROIIdentificationCodeSequence[0].CodeMeaning == "Kidney"
    (study,) = made.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence
    (series,) = study.RTReferencedSeriesSequence
    assert made.StudyInstanceUID == study.ReferencedSOPInstanceUID == source[0].StudyInstanceUID
    assert series.SeriesInstanceUID == source[0].SeriesInstanceUID != made.SeriesInstanceUID
    images = {item.ReferencedSOPInstanceUID for item in series.ContourImageSequence}
    assert images == {one.SOPInstanceUID for one in source}
    positions = {one.SOPInstanceUID: np.array(one.ImagePositionPatient, float) for one in source}
    normal = np.cross(*np.reshape(np.array(source[0].ImageOrientationPatient, float), (2, 3)))
    for roi in made.ROIContourSequence:
        for contour in roi.ContourSequence:
            first = np.array(contour.ContourData[:3], float)
            image = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
            assert abs((first - positions[image]) @ normal) < 1e-3
            assert len(contour.ContourData) == 3 * contour.NumberOfContourPoints


def test_writing_twice_makes_one_object_and_another_mask_another(tmp_path):
    write_dicom_series(scan(GRIDS["axial LPS"]), tmp_path / "series")
    mask = mask_on(read(tmp_path / "series"), FEW)
    other = LabelMap(mask.data[::-1].copy(), mask.geometry, FEW, mask.origin)
    for name, one in (("a", mask), ("b", mask), ("c", other)):
        write_labels(one, tmp_path / f"{name}.dcm", format="rtstruct")
    contents = [(tmp_path / f"{name}.dcm").read_bytes() for name in "abc"]
    assert contents[0] == contents[1]
    uids = [pydicom.dcmread(tmp_path / f"{name}.dcm").SOPInstanceUID for name in "ac"]
    assert uids[0] != uids[1]


def test_a_label_that_is_absent_is_named_without_contours(tmp_path):
    write_dicom_series(scan(GRIDS["axial LPS"]), tmp_path / "series")
    volume = read(tmp_path / "series")
    data = np.zeros(SHAPE, np.uint8)
    data[2:4, 3:5, 2] = 5
    mask = LabelMap(data, volume.geometry, FEW, volume.origin)
    write_labels(mask, tmp_path / "mask.dcm", format="rtstruct")
    made = pydicom.dcmread(tmp_path / "mask.dcm")
    assert len(made.StructureSetROISequence) == 3
    assert ["ContourSequence" in item for item in made.ROIContourSequence] == [False, True, False]
    empty = LabelMap(np.zeros(SHAPE, np.uint8), volume.geometry, FEW, volume.origin)
    write_labels(empty, tmp_path / "empty.dcm", format="rtstruct")
    assert not any(
        "ContourSequence" in one
        for one in pydicom.dcmread(tmp_path / "empty.dcm").ROIContourSequence
    )


def test_frames_of_an_enhanced_object_are_referred_to_by_number(tmp_path):
    files = write_dicom_series(scan(GRIDS["axial LPS"]), tmp_path / "series")
    path = enhanced_from(files, tmp_path / "enhanced.dcm", order=[3, 0, 4, 1, 2])
    volume = read(path)
    mask = mask_on(volume, FEW)
    write_labels(mask, tmp_path / "mask.dcm", format="rtstruct")
    back = read_labels(tmp_path / "mask.dcm", labels=FEW, grid=volume.geometry)
    np.testing.assert_array_equal(back.array, mask.array)
    made = pydicom.dcmread(tmp_path / "mask.dcm")
    numbers = {
        contour.ContourImageSequence[0].ReferencedFrameNumber
        for roi in made.ROIContourSequence
        for contour in roi.ContourSequence
    }
    assert numbers <= {1, 2, 3, 4, 5}
    assert len(numbers) == 3  # the first and the last slice of the mask are empty


def test_a_series_in_a_zip_is_enough(tmp_path):
    files = write_dicom_series(scan(GRIDS["oblique"]), tmp_path / "series")
    with zipfile.ZipFile(tmp_path / "series.zip", "w") as archive:
        for path in files:
            archive.write(path, path.name)
    volume = read(tmp_path / "series.zip")
    mask = mask_on(volume, FEW)
    write_labels(mask, tmp_path / "mask.dcm", format="rtstruct")
    back = read_labels(tmp_path / "mask.dcm", labels=FEW, grid=volume.geometry)
    np.testing.assert_array_equal(back.array, mask.array)


def test_a_scan_that_is_no_dicom_and_a_mask_without_names_are_refused(tmp_path):
    volume = scan(GRIDS["axial LPS"])
    with pytest.raises(BadOutput, match="no DICOM series"):
        check_source(volume.geometry, Origin(), format="rtstruct", labels=FEW)
    with pytest.raises(BadLabels, match="names"):
        write_labels(
            LabelMap(np.zeros(SHAPE, int), volume.geometry), tmp_path / "a.dcm", format="rtstruct"
        )
    long = LabelTable.from_card({"labels": {"x": {"value": 1, "code": ["A" * 17, "1", "x"]}}})
    write_dicom_series(volume, tmp_path / "series")
    source = read(tmp_path / "series")
    with pytest.raises(BadLabels, match="does not fit"):
        check_source(source.geometry, source.origin, format="rtstruct", labels=long)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dicom3tools")
def test_dciodvfy_finds_no_error(tmp_path):
    write_dicom_series(scan(GRIDS["oblique"]), tmp_path / "series")
    write_labels(mask_on(read(tmp_path / "series"), FEW), tmp_path / "m.dcm", format="rtstruct")
    done = subprocess.run(["dciodvfy", tmp_path / "m.dcm"], capture_output=True, text=True)
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert errors == []
