"""No cell of any table that medseg writes runs as a formula, and every name reads back."""

import ast
import csv

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.batch.entry import Entry
from medseg.batch.tables import write_cases
from medseg.batch.task import Flag, State
from medseg.evaluation import scores
from medseg.labels import LabelTable
from medseg.manifests import table as cohort_table
from medseg.manifests.cohort import Case, Split
from medseg.review.store import Judgement, Verdict
from medseg.review.table import COLUMNS as REVIEW
from medseg.review.table import rows_of
from medseg.scans import table as scans_table
from medseg.tables import csv_text, read_csv
from medseg.training.curves import Table
from tests.test_layers import sources

#: What a spreadsheet runs, or would run without its first character.
WORDS = (
    *("=1+1", "+49 30", "+49123", "-2+3", "-", "@SUM(A1)", "\t=1", "\r=1"),
    *("'=1", "''@x", "＝1", "＠x", "=", '=HYPERLINK("a";"b")', "plain, with a comma", "-3.5"),
)
NAMES = st.sampled_from(WORDS) | st.text(
    st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8
).filter(lambda text: text.isprintable() and text.strip() != "")


def of_cases(folder, a, b):
    flag = Flag("pieces", "ball", b)
    entry = Entry(
        *("case", a, "place", "identity", 1, State.REFUSED, 1, b, (a,), (flag,), {}, {}, {}),
        *(0.0, 0.0, None, None),
    )
    write_cases(folder, [entry], LabelTable.from_card({"labels": {"ball": 1}}))
    return folder / "cases.csv", {"source": scans_table.line(a), "reason": scans_table.line(b)}


def of_scans(folder, a, b):
    text = scans_table.table_text([{"case": "a", "source": a, "reason": b, "scan": a}])
    (folder / "scans.csv").write_text(text, encoding="utf-8", newline="")
    return folder / "scans.csv", {"source": a, "reason": b, "scan": a}


def of_cohort(folder, a, b):
    column = f"{b}!"
    case = Case(
        *("case", a, Split.TRAIN, None),
        images={"T1": folder / a.replace("/", "_")},
        covariates={column: a},
    )
    text = cohort_table.write_table([case], folder, ["T1"])
    (folder / "cohort.csv").write_text(text, encoding="utf-8", newline="")
    expected = {"patient": a, column.strip(): a, "image": a.replace("/", "_")}
    return folder / "cohort.csv", expected


def of_review(folder, a, b):
    one = Judgement("case", a, Verdict.ACCEPT, b, "0" * 64, "2024-01-01T00:00:00")
    text = csv_text(REVIEW, rows_of([one], {}))
    (folder / "review.csv").write_text(text, encoding="utf-8", newline="")
    return folder / "review.csv", {"rater": a, "note": " ".join(b.split())}


def of_scores(folder, a, b):
    column = f"{b}!"
    table = pd.DataFrame({"case": ["x"], "label": [a], column: [a], "value": [-0.5]})
    scores.write_table(table, folder / "scores.csv")
    return folder / "scores.csv", {"label": a, column.strip(): a, "value": "-0.5"}


def of_training(folder, a, b):
    (folder / "validation.csv").unlink(missing_ok=True)
    Table(folder / "validation.csv", ("step", "case", "dice")).add(
        {"step": 1, "case": a, "dice": 0.5}, {"step": 2, "case": b, "dice": -0.5}
    )
    Table(folder / "validation.csv", ("step", "case", "dice")).cut_back(1)
    return folder / "validation.csv", {"case": a, "dice": "0.5"}


WRITERS = {one.__name__: one for one in (of_cases, of_scans, of_cohort, of_review, of_scores)}
WRITERS["of_training"] = of_training


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@settings(max_examples=25)
@given(a=NAMES, b=NAMES)
def test_no_cell_runs_and_every_name_reads_back(tmp_path_factory, write, a, b):
    path, expected = write(tmp_path_factory.getbasetemp(), a, b)
    with path.open(encoding="utf-8", newline="") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    assert not [cell for cell in cells if runs(cell)]
    _, rows = read_csv(path)
    assert {name: rows[0].cells[name] for name in expected} == {
        name: text.replace("\r", " ").strip() for name, text in expected.items()
    }


def runs(cell):
    """Whether a spreadsheet computes a cell; a negative number is what it looks like."""
    try:
        float(cell)
    except ValueError:
        return cell.startswith(tuple("=+-@\t\r\n＝＋－＠"))
    return cell.startswith("+")


def test_nothing_writes_a_table_past_these():
    """A new writer must be added above."""
    writers = set()
    for path, source in sources().items():
        for node in ast.walk(ast.parse(source)):
            name = getattr(node, "attr", getattr(node, "id", ""))
            if name in ("DictWriter", "to_csv", "savetxt", "csv_text") or is_writer(node):
                writers.add(path)
    assert writers == {
        "medseg/batch/tables.py",
        "medseg/cli/cohort/next.py",
        "medseg/evaluation/scores.py",
        "medseg/manifests/table.py",
        "medseg/review/table.py",
        "medseg/scans/table.py",
        "medseg/tables.py",
        "medseg/training/curves.py",
    }


def is_writer(node):
    """``csv.writer``."""
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "writer"
        and isinstance(node.value, ast.Name)
        and node.value.id == "csv"
    )
