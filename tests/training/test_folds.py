"""Cross-validation leaves a mask of every train row and an ensemble of all folds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from medseg.cli import run
from medseg.config import LearntRule, PostprocessRule
from medseg.manifests import load_cohort
from medseg.model import load_model, write_card
from medseg.phantoms import Population, write_phantom_cohort
from medseg.training import folds, watch


@pytest.fixture(scope="module", autouse=True)
def undrawn() -> Iterator[None]:
    """No pictures, which take more time than all the rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medseg.reports.training.draw_curves", lambda *_: b"\x89PNG")
        patch.setattr(watch, "picture_of", lambda *_: b"\x89PNG")
        yield


@pytest.fixture(scope="module")
def cohort_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort in five folds and a config to train them with."""
    folder = tmp_path_factory.mktemp("folds") / "cohort"
    write_phantom_cohort(folder, Population(spacing_mm=16.0, structures=("liver",)), cases=10)
    content = {
        "cohort": "cohort.yaml",
        "patch": [16, 16, 16],
        "network": {"name": "unet", "options": {"features": [4, 8]}},
        "training": {
            "steps": 2,
            "warmup": 1,
            "validations": 1,
            "logger": "none",
            "rules": "learn",
        },
        "folds": 5,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    return folder


@pytest.fixture(scope="module")
def trained(cohort_folder: Path) -> Path:
    """A finished run; tests change copies of it."""
    place = cohort_folder.parent / "run"
    assert run("train", cohort_folder / "config.yaml", "--output", place, "--quiet") == 0
    return place


@pytest.fixture
def config(cohort_folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(cohort_folder, tmp_path, dirs_exist_ok=True)
    return tmp_path / "config.yaml"


def test_every_train_row_is_segmented_by_the_fold_that_never_saw_it(
    cohort_folder: Path, trained: Path
) -> None:
    model = load_model(trained / "model")
    assert sorted(model.card.weights) == [f"fold_{i}.safetensors" for i in range(5)]
    assert len(model.networks()) == 5
    train = load_cohort(cohort_folder / "cohort.yaml").select(split="train")
    masks = {path.name for path in (trained / "out_of_fold").glob("*.nii.gz")}
    assert masks == {f"{case.case}.nii.gz" for case in train.cases}
    assert len(model.card.provenance.training_pixels) == len(train.cases)
    fold = load_model(trained / "fold_0/model").card
    assert model.card.provenance.learnt_rules is not None, "on all folds' masks together"
    assert fold.provenance.learnt_rules is None, "and on no fold's alone"
    seen = fold.provenance.training_pixels
    assert len(seen) == len(train.cases) - len(train.select(fold=0).cases)


def test_folds_that_the_table_does_not_have_are_refused(
    config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("train", config, "folds=3", "--output", tmp_path / "run", "--quiet") == 1
    assert "divided into other folds" in capfd.readouterr().err


@pytest.fixture
def interrupted(trained: Path, tmp_path: Path) -> Path:
    """A run of folds as a kill leaves it: the last one begun, without a checkpoint yet."""
    place = shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(place / "model")
    shutil.rmtree(place / "fold_4/model")
    assert (place / "fold_4/checkpoints/best.safetensors").is_file()
    (place / "fold_4/checkpoints/last.ckpt").unlink(missing_ok=True)
    return place


def test_a_killed_run_of_folds_goes_on_with_what_is_missing(
    config: Path, interrupted: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    trained = (interrupted / "fold_0/model/model.yaml").stat().st_mtime_ns
    assert run("train", config, "--output", interrupted, "--quiet") == 1
    assert "already holds a run" in capfd.readouterr().err
    assert run("train", config, "--output", interrupted, "--resume", "--quiet") == 0
    assert len(load_model(interrupted / "model").networks()) == 5
    assert (interrupted / "fold_0/model/model.yaml").stat().st_mtime_ns == trained


@pytest.mark.slow
def test_folds_of_another_config_are_not_taken_for_this_ones(
    config: Path, interrupted: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    changed = "prepare.spacing_mm=[8, 8, 8]"
    code = run("train", config, changed, "--output", interrupted, "--resume", "--quiet")
    assert code == 2
    err = capfd.readouterr().err
    assert "another config" in err
    assert "prepare.spacing_mm" in err
    # nor where folds were trained elsewhere and their weights alone were brought here
    shutil.rmtree(interrupted / "out_of_fold")
    for fold in interrupted.glob("fold_*"):
        (fold / "config.yaml").unlink(missing_ok=True)
    code = run("train", config, changed, "--output", interrupted, "--quiet")
    assert code == 2
    assert "prepare.spacing_mm" in capfd.readouterr().err
    # and the right config is then not held to be another
    assert run("train", config, "--output", interrupted, "--quiet") == 0


def test_folds_dealt_anew_are_refused_before_a_mask_is_made(
    config: Path, interrupted: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "cohort.csv"
    cohort = load_cohort(tmp_path / "cohort.yaml")
    first, second = (cohort.select(split="train", fold=fold).cases[0].case for fold in (0, 1))
    lines = table.read_text().splitlines()
    place = lines[0].split(",").index("fold")

    def dealt(line: str) -> str:
        cells = line.split(",")
        if cells[0] in (first, second):
            cells[place] = "1" if cells[0] == first else "0"
        return ",".join(cells)

    table.write_text("\n".join([lines[0], *map(dealt, lines[1:])]) + "\n")
    shutil.rmtree(interrupted / "out_of_fold")
    assert run("train", config, "--output", interrupted, "--resume", "--quiet") == 1
    err = capfd.readouterr().err
    assert "divided otherwise" in err
    assert "fold_0" in err
    assert not (interrupted / "out_of_fold").exists()


@pytest.mark.slow
def test_a_fold_that_is_trained_again_makes_its_masks_anew(config: Path, interrupted: Path) -> None:
    folder = interrupted / "out_of_fold"
    cohort = load_cohort(config.parent / "cohort.yaml").select(split="train", fold=4)
    made_by = json.loads((folder / "made_by.json").read_text())
    made_by |= {case.case: "the weights before" for case in cohort.cases}
    (folder / "made_by.json").write_text(json.dumps(made_by))
    old = {path: path.stat().st_mtime_ns for path in folder.glob("*.nii.gz")}
    words = ("--output", interrupted, "--resume", "--overwrite", "--quiet")
    assert run("train", config, *words) == 0
    again = {
        path.name.removesuffix(".nii.gz") for path in old if path.stat().st_mtime_ns != old[path]
    }
    assert again == {case.case for case in cohort.cases}


def test_a_fold_without_a_label_is_refused_before_the_first_step(
    config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "cohort.csv"
    cohort = load_cohort(tmp_path / "cohort.yaml")
    bare = {case.case for case in cohort.select(split="train", fold=3).cases}
    lines = table.read_text().splitlines()
    place = lines[0].split(",").index("label")
    rows = [line.split(",") for line in lines]
    for row in rows:
        if row[0] in bare:
            row[place] = ""
    table.write_text("\n".join(",".join(row) for row in rows) + "\n")
    assert run("train", config, "--output", tmp_path / "run", "--quiet") == 1
    assert "label" in capfd.readouterr().err
    assert not list((tmp_path / "run").glob("fold_*"))


def test_one_budget_is_shared_with_the_preparing_and_the_masks(
    config: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []

    def noted(settings, cohort, run, **options):  # type: ignore[no-untyped-def]
        """As if it were trained: the fold's model of another run."""
        given.append(settings.training.minutes)
        shutil.copytree(trained / run.folder.name / "model", run.folder / "model")
        model = load_model(run.folder / "model")
        asked = {"config": settings.model_dump(mode="json")}
        source = model.card.provenance.model_copy(update=asked)
        write_card(model.folder, model.card.model_copy(update={"provenance": source}))
        return load_model(model.folder)

    def slowly(model, rows, run):  # type: ignore[no-untyped-def]
        clock.append(60.0)
        return run.folder

    clock: list[float] = []
    monkeypatch.setattr(folds, "train", noted)
    monkeypatch.setattr(folds, "gather_predictions", slowly)
    real = folds.time.monotonic
    monkeypatch.setattr(folds.time, "monotonic", lambda: real() + sum(clock))
    code = run(
        "train",
        config,
        "training.steps=null",
        "training.minutes=15",
        "training.rules=given",
        "--output",
        tmp_path / "run",
        "--quiet",
    )
    assert code == 0
    first, second, *_ = given
    assert first == pytest.approx(3, abs=0.2)
    cohort = load_cohort(tmp_path / "cohort.yaml").select(split="train")
    rows = [len(cohort.select(fold=fold).cases) for fold in range(5)]
    masks = sum(rows) / rows[0]  # minutes: this one writes none
    assert second == pytest.approx((15 - 1 - masks) / 4, abs=0.2)


@pytest.mark.slow
def test_rules_that_a_fold_learnt_for_itself_are_left_out(config: Path, interrupted: Path) -> None:
    model = load_model(interrupted / "fold_0/model")
    rule = PostprocessRule(rule="keep_largest", label="liver")
    learnt = (
        LearntRule(
            rule=rule,
            dice_before=0.5,
            dice_after=0.6,
            gain_low=0.01,
            gain_high=0.2,
            cases=8,
            patients=8,
        ),
    )
    source = model.card.provenance.model_copy(update={"learnt_rules": learnt})
    changed = model.card.model_copy(update={"postprocess": (rule,), "provenance": source})
    write_card(model.folder, changed)
    assert run("train", config, "--output", interrupted, "--resume", "--quiet") == 0
    card = load_model(interrupted / "model").card
    assert learnt[0] not in card.provenance.learnt_rules
    assert card.postprocess == tuple(entry.rule for entry in card.provenance.learnt_rules)
