"""A number that is there and cannot be read is not absent: read without a guess, or refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from medseg.errors import BadScan
from medseg.readers.dicom.values import NotANumber, number_of
from medseg.scans import read
from tests.readers.dicom_files import CT, enhanced_of, pixels_of, save, write_series


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))


def as_written(dataset, keyword, content, vr="DS"):
    """Put text into an element as it is, however wrong."""
    content = content.encode("latin-1")
    content += b" " * (len(content) % 2)
    tag = Tag(keyword)
    dataset._dict[tag] = RawDataElement(tag, vr, len(content), content, 0, False, True)


def ct(dataset, k):
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CT
    dataset.Modality = "CT"
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024


def values(scan):
    return scan.data[0].astype(float) * scan.slope + scan.intercept


@given(st.floats(-1e9, 1e9, allow_nan=False), st.sampled_from(["{:f}", "{:e}", "{:+.3E}", "{!r}"]))
def test_a_number_is_read_whatever_its_form_and_its_decimal_sign(value, form):
    written = form.format(value)
    point = number_of(written)
    assert point == float(written)
    if "." in written and not written.lstrip("+-")[:4].strip("0123456789").startswith(","):
        comma = written.replace(".", ",")
        try:
            assert number_of(comma) == point
        except NotANumber:  # three digits behind it: may be thousands
            assert len(comma.rpartition(",")[2]) == 3


@pytest.mark.parametrize(
    "written", ["1,024", "-1,024,000", "1_0", "nan", "inf", "1.2.3", "--1", "12 34", "0.07 cm", "x"]
)
def test_what_is_no_number_or_one_of_two_is_refused(written):
    with pytest.raises(NotANumber):
        number_of(written)


def test_a_name_where_a_number_belongs_is_not_repeated():
    with pytest.raises(NotANumber) as caught:
        number_of("MEYER^ANNA 12")
    assert str(caught.value) == "'…^… 12'"


@pytest.mark.parametrize("vr", ["DS", "LO", "UN"])
@pytest.mark.parametrize("written", ["-1024,0", "-1024 HU", "-1.024e3", " -1024. ", "-1024\0"])
def test_an_intercept_is_read_where_it_is_unambiguous(tmp_path, written, vr):
    def change(dataset, k):
        ct(dataset, k)
        as_written(dataset, "RescaleIntercept", written, vr)

    assert values(read(write_series(tmp_path / "s", change=change))).min() == -1024


@pytest.mark.parametrize(
    ("keyword", "written"),
    [
        ("RescaleIntercept", "-1,024"),
        ("RescaleIntercept", "minus"),
        ("RescaleIntercept", "-1024\\0"),
        ("RescaleSlope", "1;5"),
        ("PixelSpacing", "0.5,0.8"),
        ("PixelSpacing", "0.8"),
        ("PixelSpacing", "0.8\\0.5\\2"),
        ("ImagePositionPatient", "10\\-20"),
        ("ImagePositionPatient", "10\\-20\\z"),
        ("ImageOrientationPatient", "1\\0\\0\\0\\1\\o"),
        ("NumberOfFrames", "1.5"),
    ],
)
@pytest.mark.parametrize("where", ["every slice", "one slice"])
def test_other_numbers_are_refused_by_name(tmp_path, keyword, written, where):
    def change(dataset, k):
        ct(dataset, k)
        if k == 2 or where == "every slice":
            as_written(dataset, keyword, written)

    with pytest.raises(BadScan, match=keyword):
        read(write_series(tmp_path / "s", change=change))


def test_spacing_and_position_are_read_with_decimal_commas(tmp_path):
    def change(dataset, k):
        as_written(dataset, "PixelSpacing", "0,8\\0,5 mm")
        as_written(dataset, "ImagePositionPatient", f"10,0\\-2e1\\{30 + 2 * k},00")

    plain, odd = (
        read(write_series(tmp_path / "a")),
        read(write_series(tmp_path / "b", change=change)),
    )
    np.testing.assert_array_equal(plain.geometry.affine, odd.geometry.affine)


def test_blank_values_are_absent(tmp_path):
    def change(dataset, k):
        as_written(dataset, "RescaleIntercept", "  ")
        as_written(dataset, "SliceThickness", "")

    scan = read(write_series(tmp_path / "s", change=change))
    assert (scan.slope, scan.intercept) == (1, 0)


def test_a_thickness_that_cannot_be_read_costs_a_stack_nothing_and_a_single_slice_all(tmp_path):
    def change(dataset, k):
        as_written(dataset, "SliceThickness", "thin")

    assert read(write_series(tmp_path / "stack", change=change)).geometry.spacing_mm[2] == 2
    with pytest.raises(BadScan, match="SliceThickness"):
        read(write_series(tmp_path / "one", 1, change=change))


@pytest.mark.parametrize("missing", [("RescaleSlope", "RescaleIntercept"), ("RescaleIntercept",)])
@pytest.mark.parametrize("which", [{0}, {2}, {5}, {0, 1, 2, 3}])
def test_slices_without_the_rescale_that_others_have_are_refused(tmp_path, missing, which):
    def change(dataset, k):
        ct(dataset, k)
        for keyword in missing if k in which else ():
            delattr(dataset, keyword)

    with pytest.raises(BadScan, match=f"{len(which)} of 6 slices lack RescaleSlope"):
        read(write_series(tmp_path / "s", change=change))


def test_a_ct_without_any_rescale_is_read_with_a_warning(tmp_path):
    def change(dataset, k):
        ct(dataset, k)
        del dataset.RescaleSlope, dataset.RescaleIntercept

    assert "may not be HU" in str(read(write_series(tmp_path / "s", change=change)).origin.warnings)


@pytest.mark.parametrize("keywords", [("PixelRepresentation",), ("BitsStored", "HighBit")])
@pytest.mark.parametrize("which", [{2}, {0, 1, 2, 3, 4, 5}])
def test_how_numbers_are_stored_is_assumed_for_all_slices_or_for_none(tmp_path, keywords, which):
    def change(dataset, k):
        dataset.BitsStored, dataset.HighBit = 12, 11
        dataset.PixelData = ((pixels_of(k) - 300) & 0xFFF).astype("<u2").tobytes()
        for keyword in keywords if k in which else ():
            delattr(dataset, keyword)

    folder = write_series(tmp_path / "s", change=change)
    if len(which) == 1:
        with pytest.raises(BadScan, match=f"1 of 6 slices lack {keywords[0]}"):
            read(folder)
    else:
        assert f"no {keywords[0]}" in str(read(folder).origin.warnings)


@pytest.mark.parametrize("keyword", ["Rows", "HighBit", "PixelRepresentation"])
def test_two_numbers_where_one_should_stand_are_refused(tmp_path, keyword):
    def change(dataset, k):
        if k == 2:
            as_written(dataset, keyword, "\1\0\2\0", "US")

    with pytest.raises(BadScan, match=f"{keyword} has 2 numbers"):
        read(write_series(tmp_path / "s", change=change))


@pytest.mark.parametrize("which", [{2}, {0, 1, 2, 3, 4, 5}])
@pytest.mark.parametrize(("slope", "intercept"), [("1", "1e39"), ("1.5e37", "0.5")])
def test_a_rescale_beyond_any_float_is_refused(tmp_path, slope, intercept, which):
    def change(dataset, k):
        if k in which:
            dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
        else:
            dataset.RescaleSlope, dataset.RescaleIntercept = "1", "0"

    with pytest.raises(BadScan, match=r"out of range|do not fit"):
        read(write_series(tmp_path / "s", change=change))


FRAMES = [{"k": k} for k in range(4)]


def at_top(dataset, k):
    dataset.RescaleSlope, dataset.RescaleIntercept = "2", "-1024"


def shared(dataset, k):
    transformation = type(dataset)()
    at_top(transformation, k)
    dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence = [transformation]


def each(dataset, k):
    for item in dataset.PerFrameFunctionalGroupsSequence:
        transformation = type(dataset)()
        at_top(transformation, k)
        item.PixelValueTransformationSequence = [transformation]


def without_group(dataset, k):
    for item in dataset.PerFrameFunctionalGroupsSequence:
        at_top(item, k)
    dataset.RescaleIntercept, dataset.RescaleSlope = "7", "7"


@pytest.mark.parametrize("place", [at_top, shared, each, without_group])
def test_a_multiframe_rescale_counts_wherever_it_stands(tmp_path, place):
    plain = values(read(save(enhanced_of(FRAMES), tmp_path / "plain" / "f")))
    scaled = values(read(save(enhanced_of(FRAMES, change=place), tmp_path / "scaled" / "f")))
    np.testing.assert_array_equal(scaled, 2 * plain - 1024)


def test_a_frames_own_rescale_goes_before_the_one_at_the_top(tmp_path):
    def change(dataset, k):
        each(dataset, k)
        dataset.RescaleSlope, dataset.RescaleIntercept = "7", "7"

    assert values(read(save(enhanced_of(FRAMES, change=change), tmp_path / "f"))).min() == -1024


def mapping(dataset, slope, intercept=5.0):
    item = type(dataset)()
    item.RealWorldValueSlope, item.RealWorldValueIntercept = slope, intercept
    return item


@pytest.mark.parametrize("place", ["top", "shared", "each"])
def test_a_parametric_map_means_what_its_mapping_says(tmp_path, place):
    def change(dataset, k):
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.30"
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        homes = {
            "top": [dataset],
            "shared": dataset.SharedFunctionalGroupsSequence,
            "each": dataset.PerFrameFunctionalGroupsSequence,
        }
        for home in homes[place]:
            home.RealWorldValueMappingSequence = [mapping(dataset, 0.25)]

    plain = values(read(save(enhanced_of(FRAMES), tmp_path / "plain" / "f")))
    mapped = values(read(save(enhanced_of(FRAMES, change=change), tmp_path / "map" / "f")))
    np.testing.assert_array_equal(mapped, 0.25 * plain + 5)


def test_two_mappings_that_differ_are_refused(tmp_path):
    def change(dataset, k):
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.30"
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.RealWorldValueMappingSequence = [mapping(dataset, 1.0), mapping(dataset, 2.0)]

    with pytest.raises(BadScan, match="2 RealWorldValueMappings"):
        read(save(enhanced_of(FRAMES, change=change), tmp_path / "f"))
