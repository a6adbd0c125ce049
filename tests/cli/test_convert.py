"""``medseg convert`` leaves a volume or a reason for everything, and nobody's name."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from medseg.cli.app import app
from tests.readers.dicom_files import dataset_of, pixels_of, save, write_series

pytestmark = pytest.mark.usefixtures("forked_workers")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))


def convert(*arguments):
    return CliRunner().invoke(app, ["convert", *map(str, arguments)])


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "scans.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def edit(table: Path, rows: list[dict[str, str]]) -> Path:
    with table.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return table


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def archive_of(folder: Path) -> Path:
    """A good series, one with a gap, and one with two echoes."""
    write_series(folder / "good")
    write_series(folder / "gap", series="2.25.2")
    (folder / "gap" / "002.dcm").unlink()
    for echo in range(2):
        for k in range(4):
            dataset = dataset_of(k, series="2.25.3", pixels=pixels_of(k) + 1000 * echo)
            dataset.SOPInstanceUID, dataset.EchoTime = f"2.25.3.{echo}.{k}", 5 + echo
            save(dataset, folder / "echoes" / f"{echo}{k}.dcm")
    return folder


def test_a_series_becomes_integers_on_its_own_grid(tmp_path):
    result = convert(write_series(tmp_path / "in"), "--output", tmp_path / "out")
    assert result.exit_code == 0
    (row,) = rows_of(tmp_path / "out")
    image = nibabel.load(tmp_path / "out" / f"{row['case']}.nii.gz")
    assert image.get_data_dtype().kind == "i"
    assert np.asarray(image.dataobj)[3, 2, 1] == 123
    np.testing.assert_allclose(image.affine @ [0, 0, 0, 1], [-10, 20, 30, 1])
    assert (row["status"], row["shape"], row["spacing_mm"]) == ("converted", "5x6x6", "0.5x0.8x2")


def test_one_bad_series_does_not_stop_the_others(tmp_path):
    result = convert(archive_of(tmp_path / "in"), "--output", tmp_path / "out")
    assert result.exit_code == 1
    statuses = {row["source"]: row["status"] for row in rows_of(tmp_path / "out")}
    assert statuses == {"good": "converted", "gap": "refused", "echoes": "refused"}
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 1
    assert "gap" in result.stderr
    assert "Traceback" not in result.output


def test_nothing_names_the_patient_unless_asked(tmp_path):
    folder = archive_of(tmp_path / "in")
    result = convert(folder, "--output", tmp_path / "out")
    everything = result.output + "".join(
        path.name + path.read_text(errors="replace") for path in (tmp_path / "out").iterdir()
    )
    for secret in ("ecret", "SECRET", "2.25"):
        assert secret not in everything
    header = nibabel.load(next((tmp_path / "out").glob("*.nii.gz"))).header
    assert header["descrip"] == b""
    assert header["db_name"] == b""
    convert(folder, "--output", tmp_path / "named", "--with-identifiers")
    assert {row["patient_id"] for row in rows_of(tmp_path / "named")} == {"SECRET-ID"}
    assert not any("ecret" in path.name for path in (tmp_path / "named").iterdir())


def test_a_dry_run_writes_the_table_alone_and_the_edited_table_chooses(tmp_path):
    folder = archive_of(tmp_path / "in")
    write_series(folder / "more", series="2.25.4")
    assert convert(folder, "--output", tmp_path / "look", "--dry-run").exit_code == 1
    assert visible(tmp_path / "look") == ["scans.csv"]
    rows = rows_of(tmp_path / "look")
    assert sorted(row["status"] for row in rows) == ["refused", "refused", "usable", "usable"]
    kept = [row for row in rows if row["source"] in ("good", "echoes")]
    kept[0]["volume"] = "1" if kept[0]["source"] == "echoes" else ""
    kept[1]["volume"] = "1" if kept[1]["source"] == "echoes" else ""
    table = edit(tmp_path / "look" / "scans.csv", kept)
    convert(table, "--output", tmp_path / "out")
    result = {row["source"]: (row["status"], row["volume"]) for row in rows_of(tmp_path / "out")}
    assert result == {
        "good": ("converted", ""),
        "echoes": ("converted", "1"),
        "gap": ("refused", ""),
        "more": ("skipped", ""),
    }
    echo = next(row for row in rows_of(tmp_path / "out") if row["source"] == "echoes")
    image = nibabel.load(tmp_path / "out" / f"{echo['case']}.nii.gz")
    assert np.asarray(image.dataobj).min() == 1000


def test_the_table_of_a_conversion_converts_the_same_again(tmp_path):
    folder = archive_of(tmp_path / "in")
    convert(folder, "--output", tmp_path / "one", "--volume", "all")
    convert(tmp_path / "one" / "scans.csv", "--output", tmp_path / "two")
    names = [visible(tmp_path / out) for out in ("one", "two")]
    assert names[0] == names[1]
    assert len(names[0]) == 5  # three volumes, the table, the ledger


def test_an_archive_that_was_moved_is_found_by_root(tmp_path):
    convert(write_series(tmp_path / "in"), "--output", tmp_path / "look", "--dry-run")
    (tmp_path / "in").rename(tmp_path / "elsewhere")
    table = tmp_path / "look" / "scans.csv"
    assert convert(table, "--output", tmp_path / "out").exit_code == 1
    assert (
        convert(table, "--output", tmp_path / "out", "--root", tmp_path / "elsewhere").exit_code
        == 0
    )


def test_results_inside_the_archive_are_not_taken_for_scans(tmp_path):
    folder = write_series(tmp_path / "in")
    for _ in range(2):
        convert(folder, "--output", folder / "out")
        assert len(rows_of(folder / "out")) == 1


def test_names_that_are_no_text_do_not_stop_it(tmp_path):
    folder = write_series(tmp_path / "in")
    for k, name in enumerate((b"caf\xe9.dcm", b"line\nbreak", b"\x1b[31mred")):
        (folder / f"{k:03d}.dcm").rename(os.fsdecode(os.fsencode(folder) + b"/" + name))
    (folder / os.fsdecode(b"foreign\xff")).write_bytes(b"?")
    result = convert(folder, "--output", tmp_path / "out")
    assert result.exit_code == 0
    assert [row["status"] for row in rows_of(tmp_path / "out")] == ["converted", "skipped"]
    assert "\x1b" not in result.output


def test_filters_leave_rows_for_what_they_leave_out(tmp_path):
    result = convert(
        write_series(tmp_path / "in"), "--output", tmp_path / "out", "--modality", "CT"
    )
    assert result.exit_code == 1
    (row,) = rows_of(tmp_path / "out")
    assert row["status"] == "skipped"
    assert "modality MR, not CT" in row["reason"]


def test_a_wrong_call_is_told_apart_from_a_bad_scan(tmp_path):
    folder = write_series(tmp_path / "in")
    assert convert(folder, "--output", tmp_path / "out", "--volume", "first").exit_code == 2
    assert convert(tmp_path / "gone", "--output", tmp_path / "out").exit_code == 1
    assert convert(folder).exit_code == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "kept as they are"),
        (("--nonfinite", "keep"), "kept as they are"),
        (("--nonfinite", "replace"), "replaced by the smallest finite value, -5"),
    ],
)
def test_voxels_without_a_value_are_counted_and_treated_as_asked(tmp_path, options, told):
    values = np.full((4, 5, 6), 7, np.float32)
    values[0, 0, 0], values[1, 0, 0], values[2, 0, 0] = np.nan, np.inf, -5
    nibabel.save(nibabel.Nifti1Image(values, np.diag([2, 2, 3, 1])), tmp_path / "in.nii.gz")
    assert convert(tmp_path / "in.nii.gz", "--output", tmp_path / "out", *options).exit_code == 0
    (row,) = rows_of(tmp_path / "out")
    assert "2 voxels are not finite (1 NaN, 1 infinite)" in row["warnings"]
    assert told in row["warnings"]
    if "replace" in options:
        values[:2, 0, 0] = -5
    written = nibabel.load(tmp_path / "out" / "in.nii.gz").get_fdata()
    np.testing.assert_array_equal(written, values)


def test_float_dicom_pixels_follow_the_same_rule(tmp_path):
    def as_floats(dataset, k):
        values = pixels_of(k).astype("<f4")
        values[0, 0] = np.nan if k == 1 else 3
        del dataset.PixelData, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
        dataset.BitsAllocated, dataset.FloatPixelData = 32, values.tobytes()

    folder = write_series(tmp_path / "in", 3, change=as_floats)
    for option, expected in (("keep", np.nan), ("replace", 1.0)):
        out = tmp_path / option
        assert convert(folder, "--output", out, "--nonfinite", option).exit_code == 0
        assert "1 voxels are not finite" in rows_of(out)[0]["warnings"]
        written = nibabel.load(next(out.glob("*.nii.gz"))).get_fdata()
        assert np.array_equal(written[0, 0, 1], expected, equal_nan=True)


@pytest.mark.parametrize("ending", [".zip", ".tar.gz"])
def test_images_inside_an_archive_are_converted_where_they_are(tmp_path, ending):
    image = nibabel.Nifti1Image(
        np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([2, 2, 3, 1])
    )
    folder = tmp_path / "study"
    (folder / "deep").mkdir(parents=True)
    nibabel.save(image, folder / "deep" / "brain.nii.gz")
    nibabel.save(image, folder / "plain.nii")
    write_series(folder / "series")
    kind = {".zip": "zip", ".tar.gz": "gztar"}[ending]
    packed = shutil.make_archive(str(tmp_path / "scans"), kind, folder)
    assert convert(packed, "--output", tmp_path / "out").exit_code == 0
    rows = {row["source"]: row for row in rows_of(tmp_path / "out")}
    assert {row["status"] for row in rows.values()} == {"converted"}
    row = rows[f"scans{ending}/deep/brain.nii.gz"]
    assert (row["case"], row["shape"], row["spacing_mm"]) == ("brain", "3x4x5", "2x2x3")
    written = nibabel.load(tmp_path / "out" / "brain.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), np.asarray(image.dataobj))
    np.testing.assert_array_equal(written.affine, image.affine)
    assert (tmp_path / "out" / "plain.nii.gz").is_file()
    table = tmp_path / "out" / "scans.csv"
    assert convert(table, "--output", tmp_path / "again").exit_code == 0
    assert len(list((tmp_path / "again").glob("*.nii.gz"))) == 3
