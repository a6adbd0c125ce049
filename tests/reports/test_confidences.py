"""How sure the network was is found beside the masks, and the page says whether it helps."""

import pandas as pd
import pytest

from medseg.evaluation import evaluate, plan_tasks
from medseg.reports.confidences import confidences_of
from medseg.reports.evaluation_folder import write_evaluation
from tests.evaluation.cohorts import make_cohort, predict, save, truth_of
from tests.review.test_choosing import batch


@pytest.fixture
def pairs(tmp_path):
    """A cohort of four test cases, the last of which is predicted badly."""
    cohort = make_cohort(tmp_path / "cohort", 4)
    masks = predict(cohort, tmp_path / "masks")
    save(truth_of(3) * 0, masks / "c3.nii.gz")
    return cohort, masks


def written(cohort, masks, output):
    scores = evaluate(masks, cohort)
    write_evaluation(output, scores, plan_tasks(masks, cohort))
    return output


def test_a_column_of_a_table_is_paired_by_name(pairs, tmp_path):
    cohort, masks = pairs
    table = "case,confidence\nc0,0.9\nc1_seg,0.8\nc2,\nc3,0.1\nc9,0.3\n"
    (masks / "cases.csv").write_text(table, encoding="utf-8")
    found = confidences_of(plan_tasks(masks, cohort))
    assert found == {"c0": 0.9, "c1": 0.8, "c3": 0.1}
    folder = written(cohort, masks, tmp_path / "out")
    row = pd.read_csv(folder / "confidence.csv").set_index("label").loc["mean"]
    assert (row["n"], row["below"], row["auroc"]) == (3, 1, 1.0)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert 'id="confidence"' in page and "AUROC" in page
    assert "confidence is lower for the former 100 times in 100" in page
    assert {path.suffix for path in (folder / "figures").glob("risk_coverage.*")} == {
        ".svg",
        ".pdf",
        ".png",
    }
    methods = (folder / "methods.md").read_text(encoding="utf-8")
    assert "area under the ROC curve for a Dice below 0.8" in methods
    assert "arXiv:1805.08206" in methods


def test_the_ledger_of_a_batch_knows_the_lowest_of_the_labels(pairs):
    cohort, masks = pairs
    contents = {path: path.read_bytes() for path in masks.glob("c*.nii.gz")}
    batch(masks, {f"c{k}": (0.5 + 0.1 * k, 10.0, ()) for k in range(3)})
    for path, content in contents.items():
        path.write_bytes(content)
    found = confidences_of(plan_tasks(masks, cohort, labels=cohort.labels))
    assert found == pytest.approx({"c0": 0.5, "c1": 0.6, "c2": 0.7})


TABLES = [None, "case,status\nc0,done\n", "case\n\x00", "case,confidence\nc0,nan\n"]


@pytest.mark.parametrize("table", TABLES, ids=range(4))
def test_nothing_is_known_of_masks_without_a_column_of_numbers(pairs, table):
    cohort, masks = pairs
    if table is not None:
        (masks / "cases.csv").write_text(table, encoding="utf-8")
    assert confidences_of(plan_tasks(masks, cohort)) == {}


def test_masks_of_which_nothing_is_known_get_no_table(pairs, tmp_path):
    cohort, masks = pairs
    folder = written(cohort, masks, tmp_path / "out")
    assert not (folder / "confidence.csv").exists()
    assert 'id="confidence"' not in (folder / "report.html").read_text(encoding="utf-8")
    assert not list((folder / "figures").glob("risk_coverage.*"))
    assert "ROC" not in (folder / "methods.md").read_text(encoding="utf-8")
