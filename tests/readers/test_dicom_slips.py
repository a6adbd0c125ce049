"""Slips of anonymisers and writers are read where nothing is in doubt, else refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from medseg.errors import BadScan, NotAVolume
from medseg.scans import discover, read
from tests.readers.dicom_files import (
    AXIAL,
    SAGITTAL,
    dataset_of,
    enhanced_of,
    pixels_of,
    save,
    write_series,
)

ITEM, END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"
OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, 0.8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))


def items(*fragments, offsets=b""):
    return b"".join(ITEM + struct.pack("<I", len(f)) + f for f in (offsets, *fragments)) + END


def put(dataset, value, syntax, *, undefined):
    dataset.PixelData = value
    dataset["PixelData"].VR = "OB" if undefined else "OW"
    dataset["PixelData"].is_undefined_length = undefined
    dataset.file_meta.TransferSyntaxUID = syntax


# ---- pixel data and its syntax ------------------------------------------------------------


@pytest.mark.parametrize("undefined", [True, False], ids=["undefined length", "defined length"])
def test_fragments_under_an_uncompressed_syntax_are_never_pixels(tmp_path, undefined):
    def change(dataset, k):
        raw = items(dataset.PixelData)
        if undefined:
            dataset.PixelData = b"M" * 8
            marks[k] = raw
        else:
            dataset.PixelData = raw

    marks: dict[int, bytes] = {}
    folder = write_series(tmp_path / "s", change=change)
    for k, raw in marks.items():
        path = folder / f"{k:03d}.dcm"
        content = path.read_bytes()
        head = content[: content.rindex(b"M" * 8) - 12]
        path.write_bytes(head + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + raw)
    with pytest.raises(BadScan, match="fragments under an uncompressed transfer syntax"):
        read(folder)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_raw_pixels_under_a_compressed_syntax_are_read(tmp_path, syntax, kind):
    if kind == "classic":
        plain = read(write_series(tmp_path / "plain"))
        folder = write_series(tmp_path / "s")
        paths = sorted(folder.iterdir())
    else:
        plain = read(save(enhanced_of([{"k": k} for k in range(6)]), tmp_path / "plain" / "f"))
        paths = [save(enhanced_of([{"k": k} for k in range(6)]), tmp_path / "s" / "f")]
    for path in paths:
        content = path.read_bytes()
        old = b"1.2.840.10008.1.2.1\0"
        new = str(syntax).encode() + b"\0" * (len(str(syntax)) % 2)
        place = content.index(old)
        head = bytearray(content[:place] + new + content[place + len(old) :])
        struct.pack_into("<H", head, place - 2, len(new))
        group = head.index(b"\2\0\0\0UL\4\0") + 8
        struct.pack_into(
            "<I", head, group, struct.unpack_from("<I", head, group)[0] + len(new) - len(old)
        )
        path.write_bytes(bytes(head))
    scan = read(tmp_path / "s")
    np.testing.assert_array_equal(scan.data, plain.data)
    assert "not compressed" in str(scan.origin.warnings)


@pytest.mark.parametrize("kind", ["one frame", "with offsets", "without offsets"])
def test_run_lengths_in_several_fragments_are_joined(tmp_path, kind):
    rows = np.kron(pixels_of(0), np.ones((8, 8))).astype(np.int16)
    if kind == "one frame":
        for k in range(3):
            dataset = dataset_of(k, pixels=rows + k)
            dataset.compress(RLELossless, generate_instance_uid=False)
            (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
            cut = len(frame) // 2 // 2 * 2
            put(dataset, items(frame[:cut], frame[cut:]), RLELossless, undefined=True)
            save(dataset, tmp_path / "s" / f"{k}")
        expected = [rows + k for k in range(3)]
    else:
        dataset = enhanced_of([{"k": k} for k in range(3)])
        expected = [pixels_of(k) for k in range(3)]
        dataset.compress(RLELossless, generate_instance_uid=False)
        frames = list(generate_frames(dataset.PixelData, number_of_frames=3))
        value = encapsulate(frames, fragments_per_frame=2, has_bot=kind == "with offsets")
        put(dataset, value, RLELossless, undefined=True)
        save(dataset, tmp_path / "s" / "f")
    scan = read(tmp_path / "s")
    for k, pixels in enumerate(expected):
        np.testing.assert_array_equal(scan.data[0, :, :, k].T, pixels)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
@pytest.mark.parametrize(("cut", "offsets"), [(1, "one of four"), (1, "wrong"), (3, "none")])
def test_frames_are_found_by_themselves_whatever_the_table_of_offsets_says(
    tmp_path, syntax, cut, offsets
):
    table = {"none": b"", "one of four": bytes(4), "wrong": struct.pack("<4I", 90, 9, 0, 40)}
    frames = compressed_frames(syntax)
    pieces = [piece for f in frames for piece in (f[:70], f[70:90], f[90:]) if cut == 3] or frames
    scan = read(multiframe(tmp_path / "f", items(*pieces, offsets=table[offsets]), syntax))
    assert scan.data[0, ::8, ::8, 2].T.tolist() == pixels_of(2).tolist()


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
@pytest.mark.parametrize("count", [3, 5])
def test_fewer_or_more_compressed_frames_than_promised_are_refused(tmp_path, syntax, count):
    frames = [*compressed_frames(syntax), *compressed_frames(syntax)][:count]
    with pytest.raises(BadScan, match="decoded"):
        read(multiframe(tmp_path / "f", items(*frames), syntax))


def test_a_compressed_image_without_its_end_is_refused(tmp_path):
    frames = compressed_frames(JPEGLSLossless)
    frames[1] = frames[1][:200]
    with pytest.raises(BadScan, match="no end mark"):
        read(multiframe(tmp_path / "f", items(*frames), JPEGLSLossless))


def compressed_frames(syntax):
    frames = []
    for k in range(4):
        dataset = dataset_of(k, pixels=large(k))
        dataset.compress(syntax, generate_instance_uid=False)
        frames += generate_frames(dataset.PixelData, number_of_frames=1)
    return frames


def large(k):
    return np.kron(pixels_of(k), np.ones((8, 8))).astype(np.int16)


def multiframe(path, value, syntax):
    def change(dataset, k):
        dataset.Rows, dataset.Columns = large(0).shape
        put(dataset, value, syntax, undefined=True)

    return save(enhanced_of([{"k": k} for k in range(4)], change=change), path / "e.dcm")


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(("times", "fate"), [(2, "refused"), (1.2, "warned")])
def test_pixel_data_that_is_too_long_is_not_cut_in_silence(tmp_path, syntax, times, fate):
    import pydicom

    folder = tmp_path / "s"
    folder.mkdir()
    for k in range(3):
        dataset = dataset_of(k)
        dataset.PixelData += bytes(int((times - 1) * len(dataset.PixelData)) // 2 * 2)
        if syntax is not None:
            dataset.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(folder / f"{k}", dataset, enforce_file_format=True)
    if fate == "refused":
        with pytest.raises(BadScan, match="at least a frame more"):
            read(folder)
    else:
        assert "longer than the header" in str(read(folder).origin.warnings)


def test_frames_that_the_header_does_not_count_are_refused(tmp_path):
    def change(dataset, k):
        dataset.PixelData += dataset.PixelData[:60]

    with pytest.raises(BadScan, match="at least a frame more"):
        read(save(enhanced_of([{"k": k} for k in range(6)], change=change), tmp_path / "f"))


# ---- whose slices, in whose frame ---------------------------------------------------------


@pytest.mark.parametrize("how", ["interleaved", "end to end", "same places"])
@pytest.mark.parametrize("tag", ["PatientID", "PatientName", "PatientBirthDate"])
def test_two_patients_under_one_series_are_two_scans(tmp_path, how, tag):
    start = {"interleaved": 1.0, "end to end": 12.0, "same places": 0.0}[how]
    for n in range(2):
        for k in range(6):
            z = 30.0 + 2 * k + n * start
            dataset = dataset_of(k, position=(10, -20, z), pixels=pixels_of(k) + n)
            dataset.SOPInstanceUID = f"2.25.{n + 1}.{k}"
            setattr(dataset, tag, f"1960010{n}" if tag == "PatientBirthDate" else f"P{n}")
            save(dataset, tmp_path / f"all/{n}{k}")
    scans = discover(tmp_path / "all")
    assert [scan.shape for scan in scans] == [(5, 6, 6)] * 2
    assert len({scan.case for scan in scans}) == len({scan.group for scan in scans}) == 2
    assert "2 patients share this SeriesInstanceUID" in str(scans[0].warnings)
    for n, scan in enumerate(scans):
        assert scan.read().data.min() == n


def test_an_id_that_some_slices_lack_is_no_second_patient(tmp_path):
    def change(dataset, k):
        if k % 2:
            dataset.PatientID = dataset.PatientName = ""

    assert read(write_series(tmp_path / "s", change=change)).data.shape == (1, 5, 6, 6)


@pytest.mark.parametrize(
    ("tag", "text"),
    [("PatientID", "P{}"), ("PatientName", "A^{}"), ("PatientName", "SECRET^NAME^")],
)
def test_slices_of_as_many_patients_as_slices_are_one_scan(tmp_path, tag, text):
    def change(dataset, k):
        setattr(dataset, tag, text.format(k) if k else "Secret^Name")

    scan = read(write_series(tmp_path / "s", change=change))
    assert scan.data.shape == (1, 5, 6, 6)
    assert ("PatientID is another" in str(scan.origin.warnings)) == (tag == "PatientID")


@pytest.mark.parametrize(
    ("tag", "modality", "mixed"),
    [
        ("SeriesNumber", "MR", True),
        ("StudyDate", "MR", True),
        ("AcquisitionNumber", "CT", True),
        ("AcquisitionNumber", "MR", False),  # every other slice first: one volume
    ],
)
@pytest.mark.parametrize("order", ["interleaved", "one after the other"])
def test_two_examinations_interleaved_are_no_volume(tmp_path, tag, modality, mixed, order):
    def change(dataset, k):
        other = k % 2 if order == "interleaved" else k // 4
        dataset.Modality = modality
        setattr(dataset, tag, str(20200101 + other) if tag == "StudyDate" else 1 + other)

    folder = write_series(tmp_path / "s", 8, change=change)
    if mixed and order == "interleaved":
        with pytest.raises(BadScan, match="mixed"):
            read(folder)
    else:
        assert read(folder).data.shape[-1] == 8


@pytest.mark.parametrize("which", [{0, 1, 2, 3, 4, 5}, {3}, {0, 5}, {1, 2, 3}])
def test_a_frame_of_reference_for_a_slice_is_a_slip(tmp_path, which):
    def change(dataset, k):
        if k in which:
            dataset.FrameOfReferenceUID = f"2.25.70.{k}"

    scan = read(write_series(tmp_path / "s", change=change))
    assert scan.data.shape == (1, 5, 6, 6)
    assert "FrameOfReferenceUID is not the same" in str(scan.origin.warnings)


@pytest.mark.parametrize("which", [{0, 2, 4}, {3, 4, 5}])
def test_two_frames_of_reference_with_several_slices_each_stay_two(tmp_path, which):
    def change(dataset, k):
        if k in which:
            dataset.FrameOfReferenceUID = "2.25.70"

    with pytest.raises(BadScan, match="frames of reference"):
        read(write_series(tmp_path / "s", change=change))


def test_a_slip_does_not_excuse_a_gap(tmp_path):
    def change(dataset, k):
        dataset.FrameOfReferenceUID = f"2.25.70.{k}"
        dataset.ImagePositionPatient = [10.0, -20.0, 30.0 + 2 * k + 2 * (k > 2)]

    with pytest.raises(BadScan, match="frames of reference"):
        read(write_series(tmp_path / "s", change=change))


# ---- words and geometry -------------------------------------------------------------------


@pytest.mark.parametrize("words", ["SKELETAL SURVEY", "wb scout CT", "3 plane recon", "surview"])
@pytest.mark.parametrize("tag", ["SeriesDescription", "ProtocolName"])
def test_parallel_slices_outvote_words(tmp_path, words, tag):
    def change(dataset, k):
        dataset.SeriesDescription = ""
        setattr(dataset, tag, words)

    scan = read(write_series(tmp_path / "s", change=change))
    assert scan.data.shape == (1, 5, 6, 6)
    assert "called a localizer" in str(scan.origin.warnings)


@pytest.mark.parametrize("which", [{3}, {5}, {0, 1}])
@pytest.mark.parametrize("how", ["words", "image type"])
def test_slices_that_go_on_with_the_others_are_no_scouts(tmp_path, which, how):
    def change(dataset, k):
        if k in which and how == "words":
            dataset.SeriesDescription = "scout"
        elif k in which:
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    assert read(write_series(tmp_path / "s", change=change)).data.shape == (1, 5, 6, 6)


def test_many_parallel_slices_outvote_the_image_type(tmp_path):
    def change(dataset, k):
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    assert read(write_series(tmp_path / "s", 24, change=change)).data.shape == (1, 5, 6, 24)


@pytest.mark.parametrize("views", [1, 2, 3, 5])
def test_views_in_several_directions_stay_localizers(tmp_path, views):
    directions = (AXIAL, SAGITTAL, (1.0, 0.0, 0.0, 0.0, 0.0, -1.0))

    def change(dataset, k):
        dataset.SeriesDescription = "survey"
        dataset.ImageOrientationPatient = list(directions[k % 3])
        across = np.cross(directions[k % 3][:3], directions[k % 3][3:])
        dataset.ImagePositionPatient = list(map(float, across * (k // 3) * 5))

    with pytest.raises(NotAVolume, match="localizer"):
        read(write_series(tmp_path / "s", 3 * views, change=change))


def test_a_few_thick_views_far_apart_stay_a_localizer(tmp_path):
    def change(dataset, k):
        dataset.SeriesDescription, dataset.SliceThickness = "localizer", 15
        dataset.ImagePositionPatient = [10.0, -20.0, 15.0 * k]

    with pytest.raises(NotAVolume, match="localizer"):
        read(write_series(tmp_path / "s", change=change))


def test_a_gap_in_a_whole_body_survey_is_no_localizer(tmp_path):
    def change(dataset, k):
        dataset.SeriesDescription = "WB SURVEY"
        dataset.ImagePositionPatient = [10.0, -20.0, 30.0 + 2 * k + 2 * (k > 7)]

    with pytest.raises(BadScan, match="gap"):
        read(write_series(tmp_path / "s", 16, change=change))


# ---- nuclear medicine ---------------------------------------------------------------------

NM = "1.2.840.10008.5.1.4.1.1.20"


def reconstruction(count=5, *, between=2.5, numbers=None, where="detector", kind="RECON TOMO"):
    dataset = dataset_of(0)
    detector = type(dataset)()
    home = dataset if where == "top" else detector
    position, orientation = list(dataset.ImagePositionPatient), list(OBLIQUE)
    del dataset.ImagePositionPatient, dataset.ImageOrientationPatient
    home.ImagePositionPatient, home.ImageOrientationPatient = position, orientation
    dataset.DetectorInformationSequence = [detector]
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = NM
    dataset.Modality, dataset.ImageType = "NM", ["ORIGINAL", "PRIMARY", kind, "EMISSION"]
    dataset.NumberOfFrames, dataset.NumberOfSlices = count, count
    dataset.SliceVector = list(numbers or range(1, count + 1))
    dataset.SpacingBetweenSlices = between
    dataset.PixelData = b"".join(pixels_of(k).astype("<i2").tobytes() for k in range(count))
    return dataset


@pytest.mark.parametrize("where", ["detector", "top"])
@pytest.mark.parametrize("between", [2.5, -2.5])
@pytest.mark.parametrize("numbers", [None, (5, 4, 3, 2, 1)])
def test_a_reconstruction_lies_where_its_detector_says(tmp_path, where, between, numbers):
    path = save(reconstruction(between=between, numbers=numbers, where=where), tmp_path / "f")
    scan = read(path)
    normal = np.cross(OBLIQUE[:3], OBLIQUE[3:])
    for frame, number in enumerate(numbers or (1, 2, 3, 4, 5)):
        lps = np.array((10.0, -20.0, 30.0)) + normal * between * (number - 1)
        x, y, z = np.rint(scan.geometry.to_index(lps * (-1, -1, 1))).astype(int)
        np.testing.assert_allclose(scan.geometry.to_world([x, y, z]), lps * (-1, -1, 1), atol=1e-6)
        assert scan.data[0, x, y, z] == 100 * frame


def test_a_gated_reconstruction_is_several_volumes(tmp_path):
    dataset = reconstruction(6, numbers=(1, 2, 3, 1, 2, 3), kind="RECON GATED TOMO")
    dataset.TimeSlotVector = [1, 1, 1, 2, 2, 2]
    path = save(dataset, tmp_path / "f")
    with pytest.raises(BadScan, match="time slot"):
        read(path)
    assert read(path, volume=1).data[0, 0, 0].tolist() == [300, 400, 500]


@pytest.mark.parametrize("kind", ["STATIC", "WHOLE BODY", "TOMO", "GATED"])
def test_planar_nuclear_images_are_no_volumes(tmp_path, kind):
    with pytest.raises(NotAVolume, match="planar"):
        read(save(reconstruction(kind=kind), tmp_path / "f"))


def test_a_reconstruction_without_a_step_is_refused(tmp_path):
    dataset = reconstruction()
    dataset.SpacingBetweenSlices = None
    with pytest.raises(BadScan, match="SpacingBetweenSlices"):
        read(save(dataset, tmp_path / "f"))


# ---- what is no volume --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sop_class", "modality"),
    [
        ("1.2.840.10008.5.1.4.1.1.3.1", "US"),
        ("1.2.840.10008.5.1.4.1.1.12.1", "XA"),
        ("1.2.840.10008.5.1.4.1.1.7.2", "OT"),
        ("1.2.840.10008.5.1.4.1.1.77.1.6", "SM"),
    ],
)
def test_cines_and_slides_are_skipped(tmp_path, sop_class, modality):
    dataset = enhanced_of([{"k": k} for k in range(4)])
    del dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.Modality = modality
    with pytest.raises(NotAVolume):
        read(save(dataset, tmp_path / "f"))
