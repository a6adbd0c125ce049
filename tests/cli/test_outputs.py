"""Masks of a growing archive keep their names, and nothing of the user's is replaced."""

import csv
import os
import shutil

import pytest
from typer.testing import CliRunner

from medseg.batch.models import ModelSegmenter
from medseg.cli.app import app
from medseg.writers import write_volume
from tests.batch import stub

pytestmark = pytest.mark.usefixtures("forked_workers")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    return stub.small_model(tmp_path_factory.mktemp("run") / "model")


@pytest.fixture(autouse=True)
def by_threshold(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(ModelSegmenter, "load", lambda self: stub.Threshold().load())


def segment(*words):
    return CliRunner().invoke(app, ["segment", *map(str, words), "--executor", "inline"])


def rows(out):
    with (out / "cases.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def scan(path, number=0):
    write_volume(stub.scan(number), path)
    return path.read_bytes()


def test_a_newcomer_changes_no_older_name(model_folder, tmp_path):
    out = tmp_path / "out"
    scan(tmp_path / "in/p1/ct.nii.gz")
    assert segment(model_folder, tmp_path / "in", "-o", out).exit_code == 0
    scan(tmp_path / "in/p0/ct.nii.gz", 1)
    assert segment(model_folder, tmp_path / "in", "-o", out).exit_code == 0
    assert {row["source"]: row["case"] for row in rows(out)} == {
        "p1/ct.nii.gz": "ct",
        "p0/ct.nii.gz": "p0_ct",
    }
    scan(tmp_path / "more/ct.nii.gz", 2)
    scan(tmp_path / "ct.nii.gz", 3)
    places = [tmp_path / "more", tmp_path / "ct.nii.gz", tmp_path / "in"]
    assert segment(model_folder, *places, "-o", out).exit_code == 0
    assert [row["case"] for row in rows(out)] == ["ct", "p0_ct", "ct_2", "ct_3"]


def test_an_archive_that_moved_keeps_its_names(model_folder, tmp_path):
    out = tmp_path / "out"
    for folder in ("b", "a"):
        scan(tmp_path / "in" / folder / "ct.nii.gz", ord(folder))
        assert segment(model_folder, tmp_path / "in", "-o", out).exit_code == 0
    before = sorted(row["case"] for row in rows(out))
    (tmp_path / "in").rename(tmp_path / "elsewhere")
    assert segment(model_folder, tmp_path / "elsewhere", "-o", out).exit_code == 0
    assert sorted(row["case"] for row in rows(out)) == before == ["a_ct", "ct"]


def test_the_output_below_the_input_is_no_input(model_folder, tmp_path):
    scan(tmp_path / "in/a.nii.gz")
    for _ in range(2):
        assert segment(model_folder, tmp_path / "in", "-o", tmp_path / "in/masks").exit_code == 0
        assert len(rows(tmp_path / "in/masks")) == 1


@pytest.mark.parametrize("words", [[], ["--overwrite"]])
def test_scans_are_never_replaced_by_their_masks(words, model_folder, tmp_path):
    content = scan(tmp_path / "in/a.nii.gz")
    ended = segment(model_folder, tmp_path / "in", "-o", tmp_path / "in", *words)
    assert ended.exit_code == 1
    assert (tmp_path / "in/a.nii.gz").read_bytes() == content


def test_masks_drawn_by_hand_stay_until_asked(model_folder, tmp_path):
    out = tmp_path / "labels"
    scan(tmp_path / "in/a.nii.gz")
    scan(tmp_path / "in/b.nii.gz", 1)
    mine = scan(out / "a.nii.gz", 2)
    assert segment(model_folder, tmp_path / "in", "-o", out).exit_code == 1
    assert (out / "a.nii.gz").read_bytes() == mine
    assert {row["case"]: row["status"] for row in rows(out)} == {"a": "refused", "b": "done"}
    assert segment(model_folder, tmp_path / "in", "-o", out, "--overwrite").exit_code == 0
    assert (out / "a.nii.gz").read_bytes() != mine


def test_a_refused_file_that_was_removed_is_forgotten(model_folder, tmp_path):
    scan(tmp_path / "in/a.nii.gz")
    (tmp_path / "in/bad.nii.gz").write_text("no scan")
    assert segment(model_folder, tmp_path / "in", "-o", tmp_path / "out").exit_code == 1
    (tmp_path / "in/bad.nii.gz").unlink()
    assert segment(model_folder, tmp_path / "in", "-o", tmp_path / "out").exit_code == 0


def test_a_pipe_is_refused_at_once(model_folder, tmp_path):
    os.mkfifo(tmp_path / "scan.nii.gz")
    assert segment(model_folder, tmp_path / "scan.nii.gz", "-o", tmp_path / "out").exit_code == 1


def test_a_table_saved_by_a_spreadsheet_and_renamed_finds_its_scans(model_folder, tmp_path):
    scan(tmp_path / "in/007.nii.gz")
    scan(tmp_path / "in/b.nii.gz", 1)
    look = tmp_path / "look"
    CliRunner().invoke(app, ["convert", str(tmp_path / "in"), "--dry-run", "-o", str(look)])
    with (look / "scans.csv").open(newline="") as file:
        table = list(csv.reader(file))
    for row in table:
        row[0] = {"007": "7", "b": "my case"}.get(row[0], row[0])
    text = "\r\n".join(";".join([*row, "", ""]) for row in table)
    (tmp_path / "edited.csv").write_bytes(text.encode("utf-8-sig"))
    ended = segment(model_folder, tmp_path / "edited.csv", "-o", tmp_path / "out")
    assert ended.exit_code == 0, ended.output
    names = {row["source"]: row["case"] for row in rows(tmp_path / "out")}
    assert names["007.nii.gz"] == "007"
    assert names["b.nii.gz"].startswith("my_case")
    shutil.rmtree(tmp_path / "out")


def test_a_scan_and_its_converted_twin_count_once(model_folder, tmp_path):
    scan(tmp_path / "in/a.nii.gz")
    volumes = tmp_path / "in/volumes"
    convert = ["convert", str(tmp_path / "in"), "-o", str(volumes)]
    assert CliRunner().invoke(app, convert).exit_code == 0
    assert segment(model_folder, tmp_path / "in", "-o", tmp_path / "out").exit_code == 0
    assert [row["source"] for row in rows(tmp_path / "out") if row["status"] == "done"] == [
        "a.nii.gz"
    ]
    assert segment(model_folder, volumes, "-o", tmp_path / "asked").exit_code == 0
    assert [row["case"] for row in rows(tmp_path / "asked") if row["status"] == "done"] == ["a"]
    (tmp_path / "in/a.nii.gz").unlink()  # now the twin is all that there is
    assert segment(model_folder, tmp_path / "in", "-o", tmp_path / "left").exit_code == 0
    done = [row["source"] for row in rows(tmp_path / "left") if row["status"] == "done"]
    assert done == ["volumes/a.nii.gz"]


#: Words of a verb before the place of its output; none of the inputs need be there.
WRITERS = {
    "demo": ["demo", "-o"],
    "convert": ["convert", "in", "-o"],
    "cohort import": ["cohort", "import", "folders", "in", "-o"],
    "import-model": ["import-model", "nnunet", "in", "-o"],
}


@pytest.mark.parametrize("place", ["file", "below a file", "link that leads nowhere"])
@pytest.mark.parametrize("words", WRITERS.values(), ids=WRITERS)
def test_an_output_that_cannot_be_is_one_line_before_any_work(words, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scan(tmp_path / "in/a.nii.gz")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "link").symlink_to("/no/such/place")
    output = {"file": "notes.txt", "below a file": "notes.txt/x"}.get(place, "link")
    output += "/c.yaml" if words[0] == "cohort" else ""
    ended = CliRunner().invoke(app, [*words, output])
    assert ended.exit_code == 1, ended.output
    assert ended.output.count("\n") == 1
    assert "cannot be written" in ended.output
    assert (tmp_path / "notes.txt").read_text() == "mine"
