"""Scores that somebody edited are read where nothing is in doubt, else refused in words."""

import pandas as pd
import pytest

from medseg.errors import BadConfig, BadOutput
from medseg.evaluation import Scores, read_scores
from medseg.evaluation.scores import write_scores

ROWS = [
    ("a", "=p1", "liver", "dice", 0.1 + 0.2, "", ""),
    ("b", "p2", "liver", "dice", float("nan"), "", "-both empty"),
]


@pytest.fixture
def folder(tmp_path):
    table = pd.DataFrame(
        ROWS, columns=["case", "patient", "label", "metric", "value", "unit", "note"]
    )
    cases = pd.DataFrame({"case": ["a", "b"], "patient": ["=p1", "p2"], "status": "scored"})
    write_scores(Scores(table, cases), tmp_path)
    return tmp_path


def test_scores_come_back_to_the_bit_and_no_cell_is_a_formula(folder):
    text = (folder / "scores.csv").read_text()
    assert ",=" not in text
    assert ",-b" not in text
    scores = read_scores(folder)
    assert scores.table["value"][0] == 0.1 + 0.2
    assert scores.table["value"].isna().tolist() == [False, True]
    assert scores.table["patient"].tolist() == ["=p1", "p2"]
    assert scores.table["note"].tolist() == ["", "-both empty"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_scores_that_a_spreadsheet_saved_are_read(folder, encoding):
    path = folder / "scores.csv"
    path.write_bytes(path.read_text().replace(",", ";").encode(encoding))
    assert len(read_scores(folder).table) == 2


DAMAGE = {
    "a value that is no number": ("scores.csv", ("liver,dice,0", "liver,dice,x0"), "no number"),
    "a row twice": ("scores.csv", ("b,p2", "a,p2"), "occurs twice"),
    "a column gone": ("scores.csv", ("metric", "metre"), "lacks columns"),
    "no status": ("cases.csv", ("status", "state"), "lacks columns"),
    "an unknown setting": ("evaluation.yaml", ("seed", "sead"), "unknown key"),
    "about what": ("evaluation.yaml", ("about: {}", "about: 3"), "not a mapping"),
}


@pytest.mark.parametrize(("name", "change", "said"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_scores_are_refused(folder, name, change, said):
    path = folder / name
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    with pytest.raises((BadOutput, BadConfig), match=said):
        read_scores(folder)
