"""A table says for which labels each truth was drawn, and is held to that."""

import numpy as np
import pytest

from medseg.errors import BadCohort, BadLabels
from medseg.manifests import check_cohort, load_cohort, read_truth, split_cohort, write_cohort
from medseg.manifests.summary import summarise_cohort
from tests.training.cohorts import ORGANS, partly_labelled, tiny_cohort

SCAN = {"cases": 4, "shape": (12, 11, 10)}


def with_cells(cohort, *cells):
    """The same cohort, read again from a table with these cells in `labelled`."""
    table = cohort.path.with_suffix(".csv")
    header, *lines = table.read_text().splitlines()
    place = header.split(",").index("label") + 1
    rows = [header.split(","), *(line.split(",") for line in lines)]
    for row, cell in zip(rows, ("labelled", *cells, *[""] * len(lines)), strict=False):
        row.insert(place, cell)
    table.write_text("\n".join(",".join(row) for row in rows) + "\n")
    return load_cohort(cohort.path)


@pytest.mark.parametrize(
    ("cell", "names"),
    [("", ()), ("ball", ("ball",)), (" box ", ("box",)), ("box;ball", ()), ("ball | box", ())],
)
def test_a_cell_names_labels_and_all_of_them_are_as_good_as_none(tmp_path, cell, names):
    case = with_cells(tiny_cohort(tmp_path, **SCAN), cell).cases[0]
    assert case.labelled == names
    assert [case.annotates(name) for name in ORGANS.names] == [
        not names or name in names for name in ORGANS.names
    ]
    assert "labelled" not in case.covariates


def test_a_name_that_is_no_label_is_refused_with_its_row(tmp_path):
    with pytest.raises(BadCohort, match=r"row 3: .*'labelled'.*found liver, expected.*ball, box"):
        with_cells(tiny_cohort(tmp_path, **SCAN), "ball", "box; liver")


def test_what_is_written_reads_back_and_only_where_there_is_something_to_say(tmp_path):
    part = partly_labelled(tmp_path / "part", **SCAN)
    assert [case.labelled for case in part.cases] == [("ball",), ("box",)] * 2 + [()]
    again = load_cohort(write_cohort(split_cohort(part, folds=2), tmp_path / "part" / "more.yaml"))
    assert {c.case: c.labelled for c in again.cases} == {c.case: c.labelled for c in part.cases}
    whole = tiny_cohort(tmp_path / "whole", **SCAN)
    assert "labelled" not in whole.path.with_suffix(".csv").read_text()


def test_a_mask_with_labels_it_was_not_drawn_for_is_refused(tmp_path):
    cohort = with_cells(tiny_cohort(tmp_path, **SCAN), "ball")
    with pytest.raises(BadLabels, match=r"not drawn for.*found box, expected ball"):
        read_truth(cohort, cohort.cases[0])
    assert any("box" in problem.text for problem in check_cohort(cohort))
    assert set(np.unique(read_truth(cohort, cohort.cases[1]).data)) == {0, 1, 3}


def test_volumes_are_told_of_what_was_drawn(tmp_path):
    facts = summarise_cohort(partly_labelled(tmp_path, **SCAN))
    assert {name: spread.count for name, spread in facts.volumes_ml.items()} == {
        "ball": 2,
        "box": 2,
    }
