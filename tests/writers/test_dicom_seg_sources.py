"""Every source that can be read gives a valid DICOM SEG, however odd its header."""

import shutil
import subprocess
import tarfile
import zipfile

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from medseg.errors import BadLabels, BadOutput
from medseg.labels import LabelTable
from medseg.scans import discover, read
from medseg.volume import LabelMap
from medseg.writers import WRITERS, check_format, check_source, write_labels
from medseg.writers.dicom_identity import identity
from medseg.writers.dicom_series import write_dicom_series
from tests.writers.scans import GRIDS, TILTED, scan

NAMES = ("肝臓", "foie – lésion", "ήπαρ", "почка", "كبد")
TABLE = LabelTable.from_card({"labels": {name: n for n, name in enumerate(NAMES, start=1)}})


def raw(dataset, keyword, vr, content):
    """Put bytes into an element as they are, however wrong."""
    tag = Tag(keyword)
    content += b" " * (len(content) % 2)
    dataset._dict[tag] = RawDataElement(tag, vr, len(content), content, 0, False, True)


def foreign_name(dataset, content):
    """The same for a patient's name in other letters, which pydicom would encode once more."""
    content += b" " * (len(content) % 2)
    dataset.PatientName = "Z" * len(content)
    dataset.foreign_name = content


def japanese(dataset, k):
    dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    foreign_name(dataset, b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B")


def korean(dataset, k):
    dataset.SpecificCharacterSet = ["", "ISO 2022 IR 149"]
    foreign_name(dataset, b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7")


def undeclared_utf8(dataset, k):
    dataset.pop("SpecificCharacterSet", None)
    foreign_name(dataset, "Müller^Jörg".encode())


def undeclared_latin(dataset, k):
    dataset.pop("SpecificCharacterSet", None)
    foreign_name(dataset, "Müller^Jörg".encode("latin-1"))


def invented_set(dataset, k):
    dataset.SpecificCharacterSet = "no such set"
    foreign_name(dataset, "Müller^Jörg".encode("latin-1"))


def acr_nema(dataset, k):
    raw(dataset, "StudyDate", "DA", b"1993.10.07")
    raw(dataset, "PatientBirthDate", "DA", b"1950.01.31")
    raw(dataset, "StudyTime", "TM", b"08:05:59")


def impossible_values(dataset, k):
    raw(dataset, "StudyDate", "DA", b"20201399")
    raw(dataset, "PatientBirthDate", "DA", b"unknown")
    raw(dataset, "StudyTime", "TM", b"25 o'clock")
    raw(dataset, "PatientSex", "CS", b"woman")
    raw(dataset, "PatientAge", "AS", b"51")
    raw(dataset, "PatientWeight", "DS", b"70 kg")
    raw(dataset, "AccessionNumber", "SH", b"A" * 40)
    raw(dataset, "StudyID", "SH", b"one\\two")
    raw(dataset, "PatientID", "LO", b"x" * 100)


def lower_case_sex(dataset, k):
    raw(dataset, "PatientSex", "CS", b"female")


def empty_thickness(dataset, k):
    dataset.SliceThickness = None


def no_thickness(dataset, k):
    del dataset.SliceThickness


def nothing_required(dataset, k):
    for keyword in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyDate",
        "StudyTime",
        "ReferringPhysicianName",
        "StudyID",
        "AccessionNumber",
        "Manufacturer",
        "SliceThickness",
        "FrameOfReferenceUID",
        "PositionReferenceIndicator",
        "SeriesNumber",
        "InstanceNumber",
    ):
        dataset.pop(keyword, None)


def trembling_orientation(dataset, k):
    dataset.ImageOrientationPatient = [1, 1e-7 * k, 0, 0, 1, 0]


def lossy(dataset, k):
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionRatio = ["5.5"]
    dataset.LossyImageCompressionMethod = ["ISO_10918_1"]


ODDITIES = {
    change.__name__: change
    for change in (
        japanese,
        korean,
        undeclared_utf8,
        undeclared_latin,
        invented_set,
        acr_nema,
        impossible_values,
        lower_case_sex,
        empty_thickness,
        no_thickness,
        nothing_required,
        trembling_orientation,
        lossy,
    )
}

PATIENTS = {
    "japanese": "Yamada^Tarou=山田^太郎",
    "korean": "Hong^Gildong=洪^吉洞",
    "undeclared_utf8": "Müller^Jörg",
    "undeclared_latin": "Müller^Jörg",
    "invented_set": "Müller^Jörg",
}


def odd_series(folder, change):
    for k, file in enumerate(write_dicom_series(scan(GRIDS["axial LPS"]), folder)):
        dataset = pydicom.dcmread(file)
        change(dataset, k)
        dataset.save_as(file)
        if name := getattr(dataset, "foreign_name", b""):
            file.write_bytes(file.read_bytes().replace(b"Z" * len(name), name))
    return folder


def labelled(volume, table=TABLE):
    data = np.random.default_rng(5).choice([0, *table.values], volume.geometry.shape)
    return LabelMap(data.astype(np.uint8), volume.geometry, table, volume.origin)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["dicom-seg", "dicom-labelmap"])
@pytest.mark.parametrize("oddity", ODDITIES)
def test_odd_sources_give_a_readable_seg(oddity, kind, tmp_path):
    labelmap = labelled(read(odd_series(tmp_path / "s", ODDITIES[oddity])))
    write_labels(labelmap, tmp_path / "m.dcm", format=kind)
    segmentation = highdicom.seg.segread(tmp_path / "m.dcm")
    assert segmentation.SpecificCharacterSet == "ISO_IR 192"
    names = [str(one.SegmentLabel) for one in segmentation.SegmentSequence if one.SegmentNumber]
    assert names == list(NAMES)
    expected = PATIENTS.get(oddity, str(segmentation.PatientName))
    assert str(segmentation.PatientName) == expected
    array = segmentation.get_volume(combine_segments=True).array
    assert np.array_equal(np.unique(array), np.unique(labelmap.data))
    assert [int((array == n).sum()) for n in range(6)] == [
        int((labelmap.data == n).sum()) for n in range(6)
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("oddity", ODDITIES)
def test_dciodvfy_finds_no_error(oddity, tmp_path):
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed: apt-get install dicom3tools")
    labelmap = labelled(read(odd_series(tmp_path / "s", ODDITIES[oddity])))
    write_labels(labelmap, tmp_path / "m.dcm", format="dicom-seg")
    done = subprocess.run([program, tmp_path / "m.dcm"], capture_output=True, check=False)
    said = (done.stdout + done.stderr).decode(errors="replace")
    assert "Error" not in said, said
    assert done.returncode == 0


def test_what_is_lost_is_told_and_never_quoted(tmp_path):
    def change(dataset, k):
        impossible_values(dataset, k)
        raw(dataset, "StudyInstanceUID", "UI", b"1.2.03.4")

    labelmap = labelled(read(odd_series(tmp_path / "s", change)))
    told = write_labels(labelmap, tmp_path / "m.dcm", format="dicom-seg")
    assert any("PatientSex" in warning for warning in told)
    assert any("StudyDate" in warning for warning in told)
    assert any("StudyInstanceUID" in warning and "repeated" in warning for warning in told)
    assert not any("woman" in warning or "kg" in warning for warning in told)
    segmentation = pydicom.dcmread(tmp_path / "m.dcm")
    assert segmentation.PatientSex == segmentation.StudyDate == ""
    assert segmentation.PatientID == "x" * 64


def test_old_dates_become_new_ones(tmp_path):
    dataset = pydicom.Dataset()
    acr_nema(dataset, 0)
    lower_case_sex(dataset, 0)
    kept, lost = identity(dataset)
    assert (kept.StudyDate, kept.PatientBirthDate, kept.StudyTime) == (
        "19931007",
        "19500131",
        "080559",
    )
    assert kept.PatientSex == "F"
    assert lost == ()


@pytest.mark.parametrize("packed", ["zip", "tar.gz"])
def test_source_in_an_archive_gives_the_same_seg(packed, tmp_path):
    files = write_dicom_series(scan(GRIDS["oblique"]), tmp_path / "s")
    archive = tmp_path / f"a.{packed}"
    if packed == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
            for file in reversed(files):
                target.write(file, f"study/{file.name}")
    else:
        with tarfile.open(archive, "w:gz") as target:
            for file in reversed(files):
                target.add(file, f"study/{file.name}")
    [found] = [one for one in discover(archive) if one.status == "usable"]
    plain = labelled(read(tmp_path / "s"))
    inside = LabelMap(plain.data, plain.geometry, TABLE, found.read().origin)
    write_labels(plain, tmp_path / "plain.dcm", format="dicom-seg")
    write_labels(inside, tmp_path / "inside.dcm", format="dicom-seg")
    a, b = (pydicom.dcmread(tmp_path / name) for name in ("plain.dcm", "inside.dcm"))
    assert a.SOPInstanceUID == b.SOPInstanceUID
    assert a.PixelData == b.PixelData
    assert a.PerFrameFunctionalGroupsSequence == b.PerFrameFunctionalGroupsSequence


def test_long_names_are_cut_told_and_kept_in_the_description(tmp_path):
    long = ("structure " * 10).strip()
    table = LabelTable.from_card({"labels": {long: 1, "a\\b": 2}})
    write_dicom_series(scan(GRIDS["axial LPS"]), tmp_path / "s")
    told = write_labels(
        labelled(read(tmp_path / "s"), table), tmp_path / "m.dcm", format="dicom-seg"
    )
    assert any("shortened" in warning for warning in told)
    first, second = pydicom.dcmread(tmp_path / "m.dcm").SegmentSequence
    assert len(first.SegmentLabel) <= 64
    assert first.SegmentDescription == long.strip()
    assert second.SegmentLabel == "a/b"


def test_code_that_dicom_does_not_allow_is_refused_by_name(tmp_path):
    write_dicom_series(scan(GRIDS["axial LPS"]), tmp_path / "s")
    volume = read(tmp_path / "s")
    table = LabelTable.from_card(
        {"labels": {"liver": {"value": 1, "code": ["A SCHEME OF TOO MANY LETTERS", "1", "Liver"]}}}
    )
    with pytest.raises(BadLabels, match="code of 'liver'"):
        check_source(volume.geometry, volume.origin, format="dicom-seg", labels=table)


@pytest.mark.parametrize("name", WRITERS)
def test_formats_are_checked_before_there_is_a_mask(name, tmp_path):
    write_dicom_series(scan(GRIDS["axial LPS"]), tmp_path / "dicom")
    volume, bare = read(tmp_path / "dicom"), scan(GRIDS["axial LPS"])
    check_format(name)
    check_source(volume.geometry, volume.origin, format=name, labels=TABLE)
    if name.startswith("dicom") or name == "rtstruct":
        with pytest.raises(BadOutput, match="no DICOM series"):
            check_source(bare.geometry, bare.origin, format=name, labels=TABLE)
    if name.startswith("dicom"):
        with pytest.raises(BadOutput, match="sheared"):
            check_source(scan(TILTED).geometry, volume.origin, format=name, labels=TABLE)
    elif name != "rtstruct":
        check_source(bare.geometry, bare.origin, format=name, labels=TABLE)


def test_unknown_format_is_refused():
    with pytest.raises(BadOutput, match="unknown format"):
        check_format("nii")
