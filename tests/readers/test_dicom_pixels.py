"""Stored numbers come out as the modality LUT says, and damage never passes for an image."""

from __future__ import annotations

import struct

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from medseg.errors import BadScan, NotAVolume
from medseg.readers.dicom import header
from medseg.readers.sources import file_source
from medseg.scans import read
from tests.readers.dicom_files import dataset_of, enhanced_of, pixels_of, save, write_series


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))


def write_as(folder, syntax, **how):
    for k in range(4):
        dataset = dataset_of(k, pixels=np.kron(pixels_of(k), np.ones((8, 8))).astype(np.int16))
        if syntax.is_encapsulated:
            dataset.compress(syntax, generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = syntax
        folder.mkdir(exist_ok=True)
        pydicom.dcmwrite(folder / f"{k}", dataset, enforce_file_format=True, **how)
    return folder


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
        JPEG2000Lossless,
    ],
    ids=lambda uid: uid.name,
)
def test_every_transfer_syntax_gives_the_same_numbers(tmp_path, syntax):
    scan = read(write_as(tmp_path / "s", syntax))
    assert scan.data[0, ::8, ::8, 2].T.tolist() == pixels_of(2).tolist()


@pytest.mark.parametrize(("size", "limit"), [(3 << 20, 1 << 27), (3 << 20, 1 << 21)])
def test_a_deflated_header_that_swells_is_read_up_to_the_limit(tmp_path, monkeypatch, size, limit):
    dataset = dataset_of(0)
    dataset.add_new(0x00090010, "LO", "MAKER")
    dataset.add_new(0x00091001, "OB", bytes(size))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = tmp_path / "one.dcm"
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    monkeypatch.setattr(header, "MOST_HEADER_BYTES", limit)
    seen = header.look_at(file_source(path))
    assert seen.problem == ("" if limit > size else "the header is longer than 2 MiB: not read")


def test_big_endian_files_give_the_same_numbers(tmp_path):
    for k in range(3):
        dataset = dataset_of(k)
        dataset.PixelData = pixels_of(k).astype(">i2").tobytes()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        (tmp_path / "s").mkdir(exist_ok=True)
        pydicom.dcmwrite(
            tmp_path / "s" / str(k),
            dataset,
            enforce_file_format=True,
            little_endian=False,
            implicit_vr=False,
        )
    assert read(tmp_path / "s").data[0, :, :, 2].T.tolist() == pixels_of(2).tolist()


def test_files_without_preamble_are_read(tmp_path):
    for k in range(3):
        dataset = dataset_of(k)
        del dataset.file_meta
        (tmp_path / "s").mkdir(exist_ok=True)
        pydicom.dcmwrite(tmp_path / "s" / str(k), dataset, implicit_vr=True, little_endian=True)
    assert read(tmp_path / "s").data[0, :, :, 2].T.tolist() == pixels_of(2).tolist()


def test_slope_and_intercept_stay_beside_the_stored_numbers(tmp_path):
    def hounsfield(dataset, k):
        dataset.RescaleSlope, dataset.RescaleIntercept = "2", "-1024"

    scan = read(write_series(tmp_path / "s", change=hounsfield))
    assert (scan.slope, scan.intercept, scan.data.dtype) == (2.0, -1024.0, np.int16)
    assert scan.values()[0, 3, 2, 1] == 123 * 2 - 1024


@pytest.mark.parametrize(("slope", "kind"), [("0.5", "f"), ("3", "i")])
def test_each_slice_has_its_own_slope(tmp_path, slope, kind):
    def change(dataset, k):
        dataset.RescaleSlope, dataset.RescaleIntercept = (slope if k == 2 else "1"), "0"

    scan = read(write_series(tmp_path / "s", change=change))
    assert scan.values()[0, 3, 2].tolist() == [
        (100 * k + 23) * (float(slope) if k == 2 else 1) for k in range(6)
    ]
    assert scan.data.dtype.kind == kind


def test_monochrome1_is_not_inverted(tmp_path):
    folder = write_series(
        tmp_path / "s", change=lambda d, k: setattr(d, "PhotometricInterpretation", "MONOCHROME1")
    )
    assert read(folder).data[0, 3, 2, 1] == 123


@pytest.mark.parametrize(("vr", "signed"), [("SS", 1), ("US", 1), ("US", 0)])
def test_padding_is_told_in_real_world_values(tmp_path, vr, signed):
    def change(dataset, k):
        dataset.PixelRepresentation = signed
        stored = -2000 if signed else 63536
        dataset.add_new(0x00280120, vr, stored % 65536 if vr == "US" else stored)
        dataset.RescaleSlope, dataset.RescaleIntercept = "1", "-1024"

    expected = -3024.0 if signed else 62512.0
    assert read(write_series(tmp_path / "s", change=change)).origin.padding_value == expected


def test_bits_that_do_not_count_are_dropped_with_a_word(tmp_path):
    def overlay(dataset, k):
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 0
        dataset.PixelData = (pixels_of(k).astype("<u2") | 0x8000).tobytes()

    scan = read(write_series(tmp_path / "s", change=overlay))
    assert scan.data[0, 3, 2, 1] == 123
    assert any("beyond the bits that count" in warning for warning in scan.origin.warnings)


def test_twelve_signed_bits_are_sign_extended(tmp_path):
    def twelve(dataset, k):
        dataset.BitsStored, dataset.HighBit = 12, 11
        dataset.PixelData = ((pixels_of(k) - 300).astype("<i2").view("<u2") & 0x0FFF).tobytes()

    assert read(write_series(tmp_path / "s", change=twelve)).data[0, 3, 2, 1] == 123 - 300


def test_a_modality_lut_table_is_applied(tmp_path):
    def table(dataset, k):
        item = pydicom.Dataset()
        item.LUTDescriptor = [600, 0, 16]
        item.LUTData = [2 * value + 1 for value in range(600)]
        item.ModalityLUTType = "US"
        item["LUTDescriptor"].VR = "US"
        item["LUTData"].VR = "US"
        dataset.ModalityLUTSequence = pydicom.Sequence([item])
        dataset.PixelRepresentation = 0

    assert read(write_series(tmp_path / "s", change=table)).values()[0, 3, 2, 1] == 2 * 123 + 1


@pytest.mark.parametrize(
    ("elements", "told"),
    [
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "colour"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour"),
    ],
)
def test_colour_is_skipped(tmp_path, elements, told):
    def change(dataset, k):
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)

    with pytest.raises(NotAVolume, match=told):
        read(write_series(tmp_path / "s", change=change))


@pytest.mark.parametrize(
    ("bytes_left", "told"),
    [
        (-1, "truncated: 59 bytes of pixel data, expected 60"),
        (-40, "truncated"),
        (-61, "truncated"),
        (-70, "truncated"),
        (300, "truncated|gap"),
        (140, "truncated|gap"),
        (20, "gap"),
    ],
)
def test_a_file_cut_anywhere_spoils_its_series(tmp_path, bytes_left, told):
    folder = write_series(tmp_path / "s")
    content = (folder / "002.dcm").read_bytes()
    (folder / "002.dcm").write_bytes(content[:bytes_left])
    with pytest.raises(BadScan, match=told):
        read(folder)


@pytest.mark.parametrize(
    "syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless], ids=lambda uid: uid.name
)
@pytest.mark.parametrize("cut", [9, 20, 60])
def test_compressed_pixels_without_their_end_are_refused(tmp_path, syntax, cut):
    folder = write_as(tmp_path / "s", syntax)
    path = folder / "1"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(BadScan, match="1: corrupt or truncated"):
        read(folder)


def test_a_codestream_of_another_size_is_refused_before_it_is_decoded(tmp_path):
    folder = write_as(tmp_path / "s", JPEG2000Lossless)
    path = folder / "1"
    content = path.read_bytes()
    place = content.index(b"\xff\x4f\xff\x51") + 8
    path.write_bytes(content[:place] + struct.pack(">2I", 60000, 60000) + content[place + 8 :])
    with pytest.raises(BadScan, match="60000 rows x 60000 columns, the header says 48 x 40"):
        read(folder)


@pytest.mark.parametrize(
    ("sop_class", "told"),
    [
        ("1.3.12.2.1107.5.9.1", "not an image"),  # a vendor's own object
        ("1.2.840.10008.5.1.4.1.1.4", "truncated or damaged"),
    ],
)
def test_an_object_without_pixels_is_no_image_unless_its_kind_says_so(tmp_path, sop_class, told):
    dataset = dataset_of(0)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(dataset, keyword)
    with pytest.raises((BadScan, NotAVolume), match=told):
        read(save(dataset, tmp_path / "o.dcm"))


def test_no_samples_a_pixel_is_damage(tmp_path):
    folder = write_series(tmp_path / "s", change=lambda d, k: setattr(d, "SamplesPerPixel", 0))
    with pytest.raises(BadScan, match=r"corrupt: .* 0 samples a pixel"):
        read(folder)


def test_runs_longer_than_the_image_are_refused(tmp_path):
    """A decoder written in Rust ended the process over these."""
    folder = write_as(tmp_path / "s", RLELossless)
    path = folder / "1"
    content = bytearray(path.read_bytes())
    first = content.rindex(b"\xfe\xff\x00\xe0") + 8 + 64
    while content[first] <= 128:
        first += content[first] + 2
    content[first] = 0x81  # 128 times the same
    path.write_bytes(content)
    with pytest.raises(BadScan, match=r"1: corrupt or truncated.*run lengths for"):
        read(folder)


def test_an_unknown_transfer_syntax_is_named(tmp_path):
    folder = write_series(tmp_path / "s")
    for path in folder.iterdir():
        path.write_bytes(
            path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.3.4.5.6.7.8.9.0\0")
        )
    with pytest.raises(BadScan, match=r"unsupported transfer syntax 1\.2\.3\.4\.5"):
        read(folder)


def test_a_claimed_matrix_beyond_the_file_takes_no_memory(tmp_path):
    path = save(
        enhanced_of(
            [{"k": 0}],
            change=lambda d, _: [setattr(d, "Rows", 65535), setattr(d, "Columns", 65535)],
        ),
        tmp_path / "e.dcm",
    )
    with pytest.raises(BadScan, match="truncated: 60 bytes of pixel data"):
        read(path)


def test_nothing_that_names_the_patient_reaches_the_volume(tmp_path):
    scan = read(write_series(tmp_path / "s"))
    assert "ecret" not in repr(scan.origin).lower().replace(str(tmp_path).lower(), "")
    assert "2.25" not in repr(scan.origin)
    assert len(scan.origin.case) == 13
    assert scan.origin.case.isalnum()
