"""No verb replaces a file of the user's unless asked, and none an input."""

import hashlib

import numpy as np
import pytest
import yaml

from medseg.cli import run
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.manifests import load_cohort
from medseg.volume import LabelMap, Volume
from medseg.writers import write_labels, write_volume
from tests.training.plans import PLAN


def digests(folder):
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.fixture
def data(tmp_path):
    """Images and labels in the layout of `cohort import folders`."""
    grid = Geometry((12, 12, 12), np.eye(4))
    labels = LabelTable.from_card({"labels": {"box": 1}})
    mask = np.zeros((12, 12, 12), np.uint8)
    mask[3:8, 4:9, 2:7] = 1
    for number in range(4):
        name = f"box{number}.nii.gz"
        rng = np.random.default_rng(number)  # four people, not one
        voxels = rng.integers(0, 200, (1, 12, 12, 12)).astype(np.int16)
        write_volume(Volume(voxels, grid), tmp_path / "data/images" / name)
        write_labels(LabelMap(mask, grid, labels), tmp_path / "data/labels" / name)
    return tmp_path / "data"


def config_file(path, card):
    path.write_text(yaml.safe_dump(PLAN | {"cohort": card}))


def imported(folder, *words):
    return run(
        "cohort", "import", "folders", folder, "--output", folder / "c.yaml", "modality=MR", *words
    )


def test_an_import_replaces_its_own_table_but_not_an_edited_one(data, capfd):
    assert imported(data) == 0
    assert imported(data) == 0
    table = data / "c.csv"
    table.write_text(table.read_text().replace("box1,box1,", "box1,box0,"))
    assert imported(data) == 1
    assert "edited" in capfd.readouterr().err
    assert load_cohort(data / "c.yaml").cases[1].patient == "box0"
    assert imported(data, "--overwrite") == 0
    assert load_cohort(data / "c.yaml").cases[1].patient == "box1"


def test_an_import_leaves_a_foreign_table_beside_its_card(data, capfd):
    (data / "c.csv").write_text("clinical,data\n1,2\n")
    assert imported(data) == 1
    assert "did not write" in capfd.readouterr().err
    assert (data / "c.csv").read_text() == "clinical,data\n1,2\n"
    assert not (data / "c.yaml").exists()


def test_dividing_an_edited_table_keeps_the_edits_and_its_guard(data):
    imported(data)
    table = data / "c.csv"
    table.write_text(table.read_text().replace("box1,box1,", "box1,box0,"))
    assert run("cohort", "split", data / "c.yaml", "--folds", 2) == 0
    assert load_cohort(data / "c.yaml").cases[1].patient == "box0"
    assert imported(data) == 1


def test_a_split_into_a_new_card_leaves_a_foreign_one(data):
    imported(data)
    (data / "d.yaml").write_text("mine: 1\n")
    words = ["cohort", "split", data / "c.yaml", "--folds", 2, "--output", data / "d.yaml"]
    assert run(*words) == 1
    assert (data / "d.yaml").read_text() == "mine: 1\n"
    assert run(*words, "--overwrite") == 0
    assert len(load_cohort(data / "d.yaml").cases) == 4


@pytest.mark.parametrize("words", [[], ["--overwrite"]])
def test_a_plan_never_takes_the_place_of_its_card(data, words):
    imported(data)
    card = (data / "c.yaml").read_bytes()
    assert run("plan", data / "c.yaml", "--output", data / "c.yaml", *words) == 1
    assert (data / "c.yaml").read_bytes() == card


FOREIGN = {
    "plan": ("plan.yaml", lambda data, out: ("plan", data / "c.yaml", "-o", out / "plan.yaml")),
    "preview": ("p.png", lambda data, out: ("preview", data / "config.yaml", "-o", out / "p.png")),
    "train": ("config.yaml", lambda data, out: ("train", data / "config.yaml", "-o", out)),
    "a model": ("model/model.yaml", lambda data, out: ("train", data / "config.yaml", "-o", out)),
    "evaluate": ("summary.csv", lambda data, out: ("evaluate", data, data / "c.yaml", "-o", out)),
    "a page": ("report.html", lambda data, out: ("evaluate", data, data / "c.yaml", "-o", out)),
    "compare": ("table.tex", lambda data, out: ("compare", *evaluated(data), "-o", out)),
}


def evaluated(data):
    """Two methods for `compare`: the truths scored against themselves."""
    masks, scores = data / "labels", data.parent / "scores"
    assert run("evaluate", masks, masks, "--labels", "box=1", "-o", scores) == 0
    return f"a={scores}", f"b={scores}"


@pytest.mark.parametrize(("name", "words"), FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_file_stops_a_verb_before_it_works(name, words, data, tmp_path, capfd):
    imported(data)
    config_file(data / "config.yaml", "c.yaml")
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("mine")
    call = words(data, out)
    before = digests(tmp_path)
    assert run(*call) in (1, 2)
    assert digests(tmp_path) == before
    assert "--overwrite" in capfd.readouterr().err


def test_a_place_that_is_a_file_is_refused_before_the_work(data, tmp_path, capfd):
    imported(data)
    (tmp_path / "out").write_text("mine")
    for verb in ("evaluate", "compare"):
        shown = [data, data / "c.yaml"] if verb == "evaluate" else [f"a={data}", f"b={data}"]
        assert run(verb, *shown, "--output", tmp_path / "out") in (1, 2)
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("verb", ["plan", "cohort next"])
def test_what_a_card_names_is_an_input_whatever_is_asked(verb, data, tmp_path):
    imported(data)
    (tmp_path / "masks").mkdir()
    before = digests(data)
    named = ("c.csv", "c.yaml", "labels/box0.nii.gz")
    for name in named:
        words = [*verb.split(), data / "c.yaml", "--output", data / name, "--overwrite"]
        assert run(*words, *(["--from", tmp_path / "masks"] if verb != "plan" else [])) == 1
    assert digests(data) == before
