"""``medseg evaluate`` and ``medseg compare`` as a user calls them: files, words, exit codes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.manifests import read_case
from medseg.reports import figures, gallery
from medseg.volume import pixel_hash
from tests.evaluation.cohorts import AFFINE, LABELS, make_cohort, predict, save, shifted, truth_of


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    make_cohort(folder / "cohort", 6)
    return folder


@pytest.fixture(scope="module")
def cohort(place):
    from medseg.manifests import load_cohort

    return load_cohort(place / "cohort/cohort.yaml")


@pytest.fixture
def undrawn(monkeypatch):
    """No pictures, which take most of the time and are looked at in tests of their own."""
    monkeypatch.setattr(figures, "drawn", lambda figure, form="svg": b"<svg/>")
    monkeypatch.setattr(gallery, "_planes", lambda *_: b"")


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def evaluate(predictions, cohort, output, *more):
    return call("evaluate", predictions, cohort.path, "--output", output, *more)


def test_it_leaves_tables_and_a_page_and_says_where(cohort, tmp_path):
    done = evaluate(predict(cohort, tmp_path / "p", shifted), cohort, tmp_path / "out")
    assert done.exit_code == 0
    assert "report.html" in done.stdout
    assert "Dice liver" in done.stdout
    summary = pd.read_csv(tmp_path / "out/summary.csv")
    assert list(summary.columns)[:12] == [
        "label",
        "metric",
        "n",
        "mean",
        "sd",
        "median",
        "q25",
        "q75",
        "ci_low",
        "ci_high",
        "missing",
        "undefined",
    ]
    scores = pd.read_csv(tmp_path / "out/scores.csv")
    assert list(scores.columns) == ["case", "patient", "label", "metric", "value", "unit", "note"]
    assert (tmp_path / "out/report.html").is_file()


@pytest.mark.usefixtures("undrawn")
def test_a_missing_prediction_is_named_on_standard_error_with_exit_code_1(cohort, tmp_path):
    folder = predict(cohort, tmp_path / "p")
    (folder / "c1.nii.gz").unlink()
    done = evaluate(folder, cohort, tmp_path / "out")
    assert done.exit_code == 1
    assert "c1" in done.stderr
    assert pd.read_csv(tmp_path / "out/cases.csv").set_index("case").loc["c1", "status"] == (
        "missing"
    )


@pytest.mark.usefixtures("undrawn")
def test_a_leak_is_one_line_and_exit_code_1_unless_allowed(cohort, tmp_path):
    pixels = pixel_hash(read_case(cohort, cohort.case("c2")))
    folder = predict(cohort, tmp_path / "p", run={"training_pixels": [pixels]})
    done = evaluate(folder, cohort, tmp_path / "out")
    assert done.exit_code == 1
    assert "--allow-leakage" in done.stderr
    assert done.stderr.strip().count("\n") == 0
    assert not (tmp_path / "out" / "scores.csv").exists()
    allowed = evaluate(folder, cohort, tmp_path / "out", "--allow-leakage")
    assert allowed.exit_code == 0
    assert "LEAKAGE" in allowed.stderr
    assert "LEAKAGE" in (tmp_path / "out/report.html").read_text()


@pytest.mark.usefixtures("undrawn")
def test_foreign_predictions_need_their_labels_said(cohort, tmp_path):
    folder = predict(cohort, tmp_path / "p", lambda m: np.where(m == 4, 2, m).astype(np.uint8))
    for name in ("labels.yaml", "run.yaml"):
        (folder / name).unlink()
    refused = evaluate(folder, cohort, tmp_path / "out")
    assert refused.exit_code == 1
    assert "--labels" in refused.stderr
    said = tmp_path / "theirs.yaml"
    said.write_text(yaml.safe_dump({"labels": {"liver": 1, "spleen": 2}}))
    done = evaluate(folder, cohort, tmp_path / "out", "--labels", said)
    assert done.exit_code == 0
    summary = pd.read_csv(tmp_path / "out/summary.csv").set_index(["label", "metric"])
    assert summary.loc[("spleen", "dice"), "mean"] == 1.0


@pytest.mark.usefixtures("undrawn")
def test_predictions_with_the_card_s_labels_can_say_so(cohort, tmp_path):
    folder = predict(cohort, tmp_path / "p")
    (folder / "labels.yaml").unlink()
    assert evaluate(folder, cohort, tmp_path / "out", "--labels", "cohort").exit_code == 0


@pytest.mark.usefixtures("undrawn")
def test_another_grid_is_refused_unless_asked(cohort, tmp_path):
    folder = predict(cohort, tmp_path / "p")
    save(truth_of(0)[::2], folder / "c0.nii.gz", AFFINE @ np.diag([2, 1, 1, 1.0]))
    refused = evaluate(folder, cohort, tmp_path / "out")
    assert refused.exit_code == 1
    assert "--resample-nearest" in refused.stderr
    assert evaluate(folder, cohort, tmp_path / "out", "--resample-nearest").exit_code == 0


@pytest.mark.usefixtures("undrawn")
def test_tolerances_are_given_for_all_labels_or_for_one(cohort, tmp_path):
    folder = predict(cohort, tmp_path / "p", shifted)
    done = evaluate(folder, cohort, tmp_path / "out", "--tolerance", 2, "--tolerance", "spleen=0.5")
    assert done.exit_code == 0
    scores = pd.read_csv(tmp_path / "out/scores.csv")
    units = scores[scores["metric"] == "nsd"].groupby("label")["unit"].first()
    assert units.to_dict() == {"liver": "2 mm", "spleen": "0.5 mm", "mean": "per label"}


@pytest.mark.parametrize(
    "wrong", [("--tolerance", "wide"), ("--split", "validation"), ("--tolerance", "kidney=2")]
)
def test_a_wrong_call_is_exit_code_2(cohort, tmp_path, wrong):
    done = evaluate(predict(cohort, tmp_path / "p"), cohort, tmp_path / "out", *wrong)
    assert done.exit_code == 2
    assert done.stderr.strip().count("\n") == 0


@pytest.mark.usefixtures("undrawn")
def test_folds_are_scored_as_one_cohort_and_shown(cohort, tmp_path):
    for fold in (0, 1):
        predict(cohort, tmp_path / f"cv/fold{fold}", shifted, split="train", labels=LABELS)
    done = evaluate(tmp_path / "cv", cohort, tmp_path / "out", "--split", "folds")
    assert done.exit_code == 0
    cases = pd.read_csv(tmp_path / "out/cases.csv")
    assert cases.groupby("fold").size().to_dict() == {0: 2, 1: 2}
    groups = pd.read_csv(tmp_path / "out/subgroups.csv")
    assert "fold" in set(groups["covariate"])


@pytest.mark.usefixtures("undrawn")
def test_two_evaluations_are_compared(cohort, tmp_path):
    for name, change in (("moved", shifted), ("right", lambda m: m)):
        evaluate(predict(cohort, tmp_path / f"p-{name}", change), cohort, tmp_path / name)
    done = call(
        "compare", tmp_path / "moved", f"unet={tmp_path / 'right'}", "--output", tmp_path / "out"
    )
    assert done.exit_code == 0
    table = pd.read_csv(tmp_path / "out/comparison.csv")
    assert set(table["metric"]) == {"dice", "nsd", "hd95"}
    dice = table[(table["metric"] == "dice") & (table["label"] == "mean")].iloc[0]
    assert (dice["first"], dice["second"]) == ("moved", "unet")
    assert dice["difference"] > 0
    assert (tmp_path / "out/report.html").is_file()
    assert (tmp_path / "out/table.tex").is_file()


def test_comparing_with_something_else_is_refused(tmp_path):
    done = call("compare", tmp_path, tmp_path, "--output", tmp_path / "out")
    assert done.exit_code in (1, 2)
    assert done.stderr.strip().count("\n") == 0
