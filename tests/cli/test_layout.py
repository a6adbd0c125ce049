"""Masks lie where other tools look for them: BIDS, one file a label, tables for viewers."""

import csv
import json
import zipfile

import numpy as np
import pydicom
import pytest

from medseg.cli.app import app
from medseg.readers.labels import read_labels
from medseg.scans import read
from medseg.writers import write_volume
from medseg.writers.dicom_series import write_dicom_series
from medseg.writers.layout import Layout, bids_stem, mask_name
from tests.batch import stub
from tests.cli.test_segment import (  # noqa: F401 - fixtures
    by_threshold,
    model_folder,
    own_cache,
    rows,
    segment,
)
from tests.writers.scans import GRIDS
from tests.writers.scans import scan as dicom_scan

pytestmark = pytest.mark.usefixtures("by_threshold")


def save(folder, *names):
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_volume(stub.scan(number), path)
    return folder


def tree(out, pattern):
    return sorted(path.relative_to(out).as_posix() for path in out.rglob(pattern))


def test_tables_for_viewers_lie_beside_the_masks(model_folder, tmp_path):  # noqa: F811
    scans, out = save(tmp_path / "scans", "a.nii.gz"), tmp_path / "out"
    assert segment(model_folder, scans, "--output", out).exit_code == 0
    assert tree(out / "label_tables", "*") == [
        "dseg.tsv",
        "labels.ctbl",
        "labels_freesurfer_lut.txt",
        "labels_itksnap.txt",
    ]
    with (out / "label_tables" / "dseg.tsv").open(newline="") as file:
        assert [(r["index"], r["name"]) for r in csv.DictReader(file, delimiter="\t")] == [
            ("0", "Background"),
            ("1", "ball"),
        ]


def test_a_bids_data_set_becomes_a_bids_derivative(model_folder, tmp_path):  # noqa: F811
    names = [
        "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz",
        "sub-02/anat/sub-02_run-1_FLAIR.nii.gz",
    ]
    raw, out = save(tmp_path / "raw", *names), tmp_path / "derivatives" / "medseg"
    ended = segment(model_folder, raw, "--output", out, "--layout", "bids", "--one-file-per-label")
    assert ended.exit_code == 0, ended.output
    assert tree(out, "*_dseg.nii.gz") == [
        "sub-01/ses-1/anat/sub-01_ses-1_desc-T1w_dseg.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_desc-T1w_dseg.nii.gz",
        "sub-02/anat/sub-02_run-1_desc-FLAIR_dseg.nii.gz",
    ]
    assert "sub-02/anat/sub-02_run-1_label-ball_desc-FLAIR_mask.nii.gz" in tree(out, "*_mask*")
    assert not list(out.glob("*.nii.gz"))
    about = json.loads((out / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative"
    assert about["GeneratedBy"][0]["Name"] == "medseg"
    assert (out / "dseg.tsv").read_text().splitlines()[2].startswith("1\tball\t#")
    scan = read(raw / names[0])
    mask = read_labels(out / tree(out, "*_dseg.nii.gz")[0])
    assert np.array_equal(mask.affine, scan.affine)
    again = segment(model_folder, raw, "--output", out, "--layout", "bids", "--one-file-per-label")
    assert "to do" not in again.output
    assert again.exit_code == 0


def test_a_bids_derivative_is_scored_like_any_other_folder(model_folder, tmp_path):  # noqa: F811
    scans = save(tmp_path / "scans", "liver_1.nii.gz", "sub-01_T1w.nii.gz")
    flat, bids = tmp_path / "flat", tmp_path / "bids"
    assert segment(model_folder, scans, "--output", flat).exit_code == 0
    assert segment(model_folder, scans, "--output", bids, "--layout", "bids").exit_code == 0
    from typer.testing import CliRunner

    call = ["evaluate", bids, flat, "--output", tmp_path / "scores"]
    ended = CliRunner().invoke(app, [str(word) for word in call])
    assert ended.exit_code == 0, ended.output
    with (tmp_path / "scores" / "scores.csv").open(newline="") as file:
        dice = {r["case"]: r["value"] for r in csv.DictReader(file) if r["metric"] == "dice"}
    assert {case: float(value) for case, value in dice.items()} == {"liver_1": 1, "sub-01_T1w": 1}


def test_files_of_the_user_stay_in_the_bids_layout_too(model_folder, tmp_path):  # noqa: F811
    scans, out = save(tmp_path / "scans", "sub-01_T1w.nii.gz"), tmp_path / "out"
    mine = out / "sub-01" / "anat" / "sub-01_desc-T1w_dseg.nii.gz"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    ended = segment(model_folder, scans, "--output", out, "--layout", "bids")
    assert ended.exit_code == 1
    assert mine.read_bytes() == b"mine"
    assert "did not write" in rows(out)["sub-01_T1w"]["reason"]
    described = tmp_path / "described"
    described.mkdir()
    (described / "dataset_description.json").write_text("{}")
    ended = segment(model_folder, scans, "--output", described, "--layout", "bids")
    assert ended.exit_code != 0
    assert (described / "dataset_description.json").read_text() == "{}"


def test_two_cases_of_one_bids_name_never_share_a_file(model_folder, tmp_path):  # noqa: F811
    scans, out = save(tmp_path / "scans", "01.nii.gz", "sub-01.nii.gz"), tmp_path / "out"
    ended = segment(model_folder, scans, "--output", out, "--layout", "bids")
    assert ended.exit_code == 1
    statuses = sorted(row["status"] for row in rows(out).values())
    assert statuses == ["done", "refused"]
    assert len(tree(out, "*_dseg.nii.gz")) == 1


def test_one_file_a_label_shows_each_label_alone(model_folder, tmp_path):  # noqa: F811
    scans, out = save(tmp_path / "scans", "a.nii.gz"), tmp_path / "out"
    assert segment(model_folder, scans, "--output", out, "--one-file-per-label").exit_code == 0
    whole, single = read_labels(out / "a.nii.gz"), read_labels(out / "per_label/a/ball.nii.gz")
    np.testing.assert_array_equal(single.array, whole.array == 1)
    assert np.array_equal(single.affine, whole.affine)


def test_changing_the_layout_of_a_filled_folder_is_refused(model_folder, tmp_path):  # noqa: F811
    scans, out = save(tmp_path / "scans", "a.nii.gz"), tmp_path / "out"
    assert segment(model_folder, scans, "--output", out).exit_code == 0
    ended = segment(model_folder, scans, "--output", out, "--layout", "bids")
    assert ended.exit_code != 0
    assert "layout" in ended.output


@pytest.mark.parametrize(
    "words",
    [
        ("--layout", "bids", "--format", "nrrd"),
        ("--one-file-per-label", "--format", "dicom-seg"),
        ("--layout", "nested"),
    ],
)
def test_what_does_not_go_together_is_a_wrong_call(words, model_folder, tmp_path):  # noqa: F811
    scans = save(tmp_path / "scans", "a.nii.gz")
    assert segment(model_folder, scans, "--output", tmp_path / "out", *words).exit_code == 2


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("form", ["rtstruct", "dicom-seg", "dicom-labelmap"])
def test_a_series_becomes_a_dicom_object_and_an_edited_one_stays(
    form,
    packed,
    model_folder,  # noqa: F811
    tmp_path,
):
    data = np.zeros((7, 6, 5), np.int16)
    data[2:5, 1:4, 1:4] = stub.BALL_VALUE
    files = write_dicom_series(dicom_scan(GRIDS["oblique"], data), tmp_path / "series")
    place = tmp_path / "series"
    if packed:
        place = tmp_path / "series.zip"
        with zipfile.ZipFile(place, "w") as archive:
            for path in files:
                archive.write(path, path.name)
    out = tmp_path / "out"
    ended = segment(model_folder, place, "--output", out, "--format", form)
    assert ended.exit_code == 0, ended.output
    (made,) = out.glob("*.dcm")
    scan = read(place)
    mask = read_labels(made, grid=scan.geometry)
    np.testing.assert_array_equal(mask.array, data > 0)
    edited = pydicom.dcmread(made)
    edited.SeriesDescription = "looked at by me"
    edited.save_as(made)
    again = segment(model_folder, place, "--output", out, "--format", form)
    assert "left as it is" in again.output
    assert pydicom.dcmread(made).SeriesDescription == "looked at by me"


CASES = [
    "sub-01",
    "sub-01_ses-2",
    "sub-01_T1w",
    "sub-01_desc-T1w_T1w",
    "a_b",
    "a-b",
    "ab",
    "Müller",
]


def test_names_in_bids_are_safe_and_of_one_case_each():
    names = [mask_name(case, format="nifti", layout=Layout.BIDS) for case in CASES]
    assert len(set(names)) == len(CASES)
    assert all(name.isascii() for name in names)
    assert bids_stem("ab") == "sub-ab"
    assert bids_stem("a_b").startswith("sub-ab")
