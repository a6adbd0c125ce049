"""Does ``medseg convert`` leave a volume or a reason for everything, and tell nobody's name?"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from medseg.cli.app import app
from tests.readers.dicom_files import dataset_of, pixels_of, save, write_series


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
    assert [path.name for path in (tmp_path / "look").iterdir()] == ["scans.csv"]
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
    names = [sorted(path.name for path in (tmp_path / out).iterdir()) for out in ("one", "two")]
    assert names[0] == names[1]
    assert len(names[0]) == 4


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


def test_a_fault_of_ours_in_one_scan_leaves_the_others(tmp_path, monkeypatch):
    write_series(tmp_path / "in" / "a")
    write_series(tmp_path / "in" / "b", series="2.25.2", count=4)
    from medseg.readers import dicom_pixels

    genuine = dicom_pixels.read_voxels

    def faulty(candidate, name):
        if len(candidate.planes) == 4:
            raise ZeroDivisionError("a bug")
        return genuine(candidate, name)

    monkeypatch.setattr("medseg.readers.dicom.read_voxels", faulty)
    assert convert(tmp_path / "in", "--output", tmp_path / "out").exit_code == 1
    assert {row["source"]: row["status"] for row in rows_of(tmp_path / "out")} == {
        "a": "converted",
        "b": "failed",
    }


def test_what_was_converted_before_an_interruption_is_in_the_table(tmp_path, monkeypatch):
    write_series(tmp_path / "in" / "a")
    write_series(tmp_path / "in" / "b", series="2.25.2")
    from medseg.cli import convert as verb

    genuine = verb._convert_one

    def interrupted(scan, argument, output):
        if scan.source == "b":
            raise KeyboardInterrupt
        return genuine(scan, argument, output)

    monkeypatch.setattr(verb, "_convert_one", interrupted)
    assert convert(tmp_path / "in", "--output", tmp_path / "out").exit_code == 130
    assert [row["source"] for row in rows_of(tmp_path / "out")] == ["a"]
