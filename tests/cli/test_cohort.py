"""The cohort verbs say what they did, with the contract's exit codes."""

import json

import pytest
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.manifests import load_cohort
from medseg.writers import write_labels
from tests.manifests.small import TABLE, mask, write_card, write_files

MANY = TABLE + "".join(
    f"d{n},dan{n},train,1,images/d{n}.nii.gz,labels/d{n}.nii.gz,M,5{n}\n" for n in range(8)
)


def medseg(*words):
    return CliRunner().invoke(app, ["cohort", *map(str, words)])


@pytest.fixture
def card(tmp_path):
    write_files(tmp_path)
    return write_card(tmp_path)


def test_check_of_a_sound_cohort_is_0(card):
    ended = medseg("check", card)
    assert ended.exit_code == 0 and ended.stderr == ""
    assert f"{card}: 4 cases, 4 with a mask, no problems, no warnings" in ended.stdout


def test_check_names_every_problem_on_standard_error_and_is_1(card, tmp_path):
    (tmp_path / "images/a1.nii.gz").unlink()
    write_labels(mask((0, 9)), tmp_path / "labels/c1.nii.gz")
    ended = medseg("check", card, "--quiet")
    assert ended.exit_code == 1 and ended.stdout == ""
    first, second = ended.stderr.splitlines()
    assert "a1: " in first and "no such file" in first
    assert "c1: " in second and "found [9]" in second


def test_check_speaks_json(card, tmp_path):
    (tmp_path / "images/a1.nii.gz").unlink()
    events = [json.loads(line) for line in medseg("check", card, "--json").stdout.splitlines()]
    assert [event["case"] for event in events if event["event"] == "warning"] == ["a1"]
    assert events[-1]["problems"] == 1


def test_a_bad_card_is_one_line_and_1(tmp_path):
    ended = medseg("check", write_card(tmp_path, table=TABLE.replace("bob,train", "bob,val")))
    assert ended.exit_code == 1 and len(ended.stderr.splitlines()) == 1
    assert "row 4: wrong split; found 'val', expected train or test" in ended.stderr


def test_root_overrides_the_card(card, tmp_path):
    moved = write_card(tmp_path / "elsewhere")
    assert medseg("check", moved).exit_code == 1
    assert medseg("check", moved, "--root", tmp_path).exit_code == 0


def test_show_tells_parts_grids_and_volumes(card):
    ended = medseg("show", card)
    assert ended.exit_code == 0
    lines = [" ".join(line.split()) for line in ended.stdout.splitlines()]
    assert "train, fold 0 2 cases 1 patients 2 labelled" in lines
    assert "test 1 cases 1 patients 1 labelled" in lines
    assert "voxels 6 × 5 × 4" in lines and "spacing mm 2 × 2 × 3" in lines
    assert "orientation RAS (4)" in lines
    volume = next(line for line in lines if line.startswith("head"))
    assert "4 cases" in volume and volume.endswith("ml")


def test_show_without_files_tells_the_table_and_warns(tmp_path):
    ended = medseg("show", write_card(tmp_path))
    assert ended.exit_code == 0 and "4 of 4 cases could not be read" in ended.stderr
    assert "test" in ended.stdout


def test_split_rewrites_the_table_alone(tmp_path):
    card = write_card(tmp_path, table=MANY)
    before = card.read_text()
    ended = medseg("split", card, "--test", "0.2", "--folds", "3", "--seed", "5")
    assert ended.exit_code == 0 and "divided with seed 5" in ended.stdout
    assert card.read_text() == before, "comments and all"
    divided = load_cohort(card)
    assert divided.folds == (0, 1, 2)
    assert len({c.patient for c in divided.select(split="test").cases}) == 2


def test_split_into_a_new_card_leaves_the_old(tmp_path):
    card = write_card(tmp_path, table=MANY)
    ended = medseg(
        "split", card, "--folds", "2", "--stratify", "sex", "--output", tmp_path / "new.yaml"
    )
    assert ended.exit_code == 0
    assert load_cohort(tmp_path / "new.yaml").folds == (0, 1)
    assert (tmp_path / "small.csv").read_text() == MANY


@pytest.mark.parametrize(
    "words", [("--test", "much"), ("--folds", "1"), ("--output", "x.csv")], ids=" ".join
)
def test_a_wrong_call_of_split_is_2(tmp_path, words):
    assert medseg("split", write_card(tmp_path, table=MANY), *words).exit_code == 2


def test_import_writes_a_card_that_checks(tmp_path):
    write_files(tmp_path / "data")
    ended = medseg(
        "import",
        "folders",
        tmp_path / "data",
        "labels={head: 1, tail: 2}",
        "modality=MR",
        "--output",
        tmp_path / "new.yaml",
    )
    said = "4 scans, 4 with masks, 0 without; labels head, tail; 4 patients"
    assert ended.exit_code == 0 and said in ended.stdout
    assert medseg("check", tmp_path / "new.yaml").exit_code == 0


def test_import_of_a_wrong_convention_or_option_is_2(tmp_path):
    for words in (("coco", tmp_path), ("folders", tmp_path, "lables=x")):
        assert medseg("import", *words, "--output", tmp_path / "c.yaml").exit_code == 2
    ended = medseg("import", "msd", tmp_path, "--output", tmp_path / "c.yaml")
    assert ended.exit_code == 1 and "dataset.json: no such file" in ended.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--test", "1.5"], "the test share is out of range"),
        (["--folds", "100"], "fewer train patients than folds"),
        (["--stratify", "no such"], "no such covariate"),
    ],
)
def test_a_split_that_cannot_be_is_refused_before_a_scan_is_read(
    tmp_path, monkeypatch, words, said
):
    def read_nothing(*args, **options):
        raise AssertionError("the scans were read")

    monkeypatch.setattr("medseg.manifests.survey_scans", read_nothing)
    card = write_card(tmp_path)
    ended = CliRunner().invoke(app, ["cohort", "split", str(card), *words])
    assert ended.exit_code in (1, 2)
    assert said in ended.output
