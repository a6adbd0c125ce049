"""A case whose process dies, a run that is killed, names and permissions: only the case is lost."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from medseg.evaluation import evaluate, problems, running, scoring
from medseg.evaluation.journal import NAME, Journal
from tests.evaluation.cohorts import make_cohort, predict, save, shifted, truth_of


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return make_cohort(tmp_path_factory.mktemp("cohort"), 4)


@pytest.fixture
def forked(monkeypatch):
    """Processes start as copies of this one, at once; those of test_evaluating are new ones."""
    fork = SimpleNamespace(
        get_context=lambda _: multiprocessing.get_context("fork"),
        parent_process=multiprocessing.parent_process,
    )
    monkeypatch.setattr(running, "multiprocessing", fork)


def die_on_c1(task):
    """As the system ends a process that takes all memory."""
    if task.case.case == "c1":
        os._exit(9)
    return scoring.score_case(task)


def test_a_case_that_ends_its_process_costs_itself_alone(cohort, tmp_path, monkeypatch, forked):
    folder = predict(cohort, tmp_path / "p", shifted)
    whole = evaluate(folder, cohort)
    monkeypatch.setattr(running, "score_case", die_on_c1)
    scores = evaluate(folder, cohort, workers=2)
    assert list(scores.cases["status"]) == ["scored", "unscored", "scored", "scored"]
    assert any("c1" in line and "memory" in line for line in problems(scores))
    alive = whole.table["case"] != "c1"
    pd.testing.assert_frame_equal(scores.table[alive], whole.table[alive])


def test_without_shared_memory_cases_are_scored_one_after_the_other(monkeypatch):
    def missing(workers):
        raise OSError(30, "Read-only file system")  # no /dev/shm, as containers may have it

    monkeypatch.setattr(running, "_executor", missing)
    monkeypatch.setattr(running, "score_case", lambda task: -task)
    assert list(running.score_all([1, 2, 3], 2, None)) == [-1, -2, -3]


def test_a_killed_evaluation_goes_on_where_it_was(cohort, tmp_path, monkeypatch):
    folder = predict(cohort, tmp_path / "p", shifted)
    whole = evaluate(folder, cohort)

    def interrupted(done, total=None, **_):
        if done == 3:
            raise KeyboardInterrupt

    journal = tmp_path / "out" / NAME
    with pytest.raises(KeyboardInterrupt):
        evaluate(folder, cohort, journal=journal, progress=interrupted)
    journal.write_text(journal.read_text() + '{"end": "cut sho')  # as a kill leaves it
    again = []
    monkeypatch.setattr(
        running, "score_case", lambda task: again.append(task) or scoring.score_case(task)
    )
    scores = evaluate(folder, cohort, journal=journal)
    pd.testing.assert_frame_equal(scores.table, whole.table)
    assert [task.case.case for task in again] == ["c3"]
    assert not journal.exists()


def test_another_mask_is_scored_again(cohort, tmp_path):
    folder = predict(cohort, tmp_path / "p", shifted)
    journal = tmp_path / NAME

    def interrupted(done, total=None, **_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(folder, cohort, journal=journal, progress=interrupted)
    save(truth_of(0), folder / "c0.nii.gz")
    scores = evaluate(folder, cohort, journal=journal)
    assert scores.values("dice").loc["c0", "mean"] == 1.0


def test_a_case_that_began_and_never_ended_is_scored_elsewhere(
    cohort, tmp_path, monkeypatch, forked
):
    """In one process the kill takes the whole run; the next one keeps its distance."""
    folder = predict(cohort, tmp_path / "p", shifted)
    tasks = evaluate_tasks(folder, cohort)
    Journal(tmp_path / NAME).begin(tasks[1])
    monkeypatch.setattr(running, "score_case", die_on_c1)
    scores = evaluate(folder, cohort, journal=tmp_path / NAME)
    assert scores.with_status("unscored") == ("c1",)


def evaluate_tasks(folder, cohort):
    from medseg.evaluation import plan_tasks

    return plan_tasks(folder, cohort)


def test_a_fault_nobody_foresaw_costs_the_case(cohort, tmp_path, monkeypatch):
    folder = predict(cohort, tmp_path / "p")
    read = scoring.read_labels

    def broken(path, **options):
        if path.parent == folder and path.name == "c2.nii.gz":
            raise ZeroDivisionError("in a library")
        return read(path, **options)

    monkeypatch.setattr(scoring, "read_labels", broken)
    scores = evaluate(folder, cohort)
    assert scores.with_status("refused") == ("c2",)
    assert "ZeroDivisionError" in scores.cases["reason"][2]


def test_a_name_too_long_for_the_system_costs_the_case(cohort, tmp_path):
    folder = predict(cohort, tmp_path / "p")
    cases = list(cohort.cases)
    cases[1] = replace(cases[1], label=cases[1].label.with_name("x" * 300 + ".nii.gz"))
    scores = evaluate(folder, cohort.with_cases(tuple(cases)))
    assert scores.with_status("unscored") == ("c1",)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_truth_that_may_not_be_read_costs_the_case(cohort, tmp_path):
    folder = predict(cohort, tmp_path / "p")
    closed = tmp_path / "closed"
    save(truth_of(1), closed / "t.nii.gz")
    closed.chmod(0)
    try:
        cases = list(cohort.cases)
        cases[1] = replace(cases[1], label=closed / "t.nii.gz")
        scores = evaluate(folder, cohort.with_cases(tuple(cases)))
    finally:
        closed.chmod(stat.S_IRWXU)
    assert scores.with_status("unscored") == ("c1",)


def test_file_names_that_are_no_text_are_written_as_well_as_can_be(cohort, tmp_path):
    folder = predict(cohort, tmp_path / "p")
    (folder / "c1.nii.gz").rename(folder / os.fsdecode(b"M\xfcller.nii.gz"))
    scores = evaluate(folder, cohort)
    json.dumps(scores.about, ensure_ascii=False).encode("utf-8")
    assert scores.with_status("missing") == ("c1",)


def test_reasons_name_no_path(cohort, tmp_path):
    """A truth's folder and file may be called like the patient."""
    folder = predict(cohort, tmp_path / "p")
    save(truth_of(1) * np.uint8(50), tmp_path / "Doe^John/DOE_1961.nii.gz")
    cases = list(cohort.cases)
    cases[1] = replace(cases[1], label=tmp_path / "Doe^John/DOE_1961.nii.gz")
    cases[2] = replace(cases[2], label=tmp_path / "Doe^John/absent.nii.gz")
    scores = evaluate(folder, cohort.with_cases(tuple(cases)))
    assert scores.with_status("unscored") == ("c1", "c2")
    text = scores.cases.to_csv() + scores.table.to_csv() + json.dumps(scores.about)
    assert "DOE^" not in text.upper()
    assert "DOE_" not in text.upper()
    assert str(tmp_path) not in text
