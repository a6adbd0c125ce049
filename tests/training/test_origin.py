"""A run remembers which model it started from, and what that one has seen."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from medseg.config import TrainConfig, override, validate
from medseg.errors import BadCohort, BadConfig, BadLabels, BadModel
from medseg.labels import LabelTable
from medseg.manifests import load_cohort, write_cohort
from medseg.readers.labels import read_labels
from medseg.training import Run, begin_run, train, train_folds
from medseg.volume import LabelMap
from medseg.writers import write_labels
from tests.training.cohorts import tiny_cohort
from tests.training.plans import PLAN


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return tmp_path_factory.mktemp("origin")


@pytest.fixture(scope="module")
def cohort(here):
    return tiny_cohort(here / "data")


@pytest.fixture(scope="module")
def others(here):
    return tiny_cohort(here / "others", shape=(22, 24, 26))


@pytest.fixture
def fit(here, tmp_path, undrawn):
    def run(cohort, name, *assignments, resume=False, init=None, training=train, report=None):
        config = validate(TrainConfig, override(PLAN, assignments))
        begin_run(tmp_path / name, config, resume=resume)
        place = Run(
            tmp_path / name, torch.device("cpu"), time.monotonic(), here / "cache", init=init
        )
        report = report or (lambda *_, **__: None)
        return training(config, cohort, place, prepared=lambda *_: None, report=report)

    return run


@pytest.fixture
def ancestor(fit, others):
    return fit(others, "ancestor")


def test_what_the_first_model_saw_counts_as_seen(fit, cohort, ancestor):
    model = fit(cohort, "tuned", init=ancestor.folder).card.provenance
    plain = fit(cohort, "plain").card.provenance
    before = set(ancestor.card.provenance.training_pixels)
    assert set(model.training_pixels) == before | set(plain.training_pixels)
    assert len(before & set(plain.training_pixels)) == 0
    assert model.init.weights == ancestor.card.weights
    assert plain.init is None


def stop_at(step):
    def report(done, total, **facts):
        if done == step:
            raise KeyboardInterrupt

    return report


def test_a_run_cut_short_before_its_first_checkpoint_asks_for_the_model_again(
    fit, cohort, ancestor
):
    late = "training.checkpoint_minutes=9"
    with pytest.raises(KeyboardInterrupt):
        fit(cohort, "tuned", late, init=ancestor.folder, report=stop_at(2))
    with pytest.raises(BadConfig, match="begun from other weights"):
        fit(cohort, "tuned", late, resume=True)
    other = fit(cohort, "other")
    with pytest.raises(BadConfig, match="begun from other weights"):
        fit(cohort, "tuned", late, resume=True, init=other.folder)
    model = fit(cohort, "tuned", late, resume=True, init=ancestor.folder)
    assert model.card.provenance.init is not None


def test_a_run_with_a_checkpoint_goes_on_without_and_still_knows(fit, cohort, ancestor):
    with pytest.raises(KeyboardInterrupt):
        fit(cohort, "tuned", init=ancestor.folder, report=stop_at(3))
    model = fit(cohort, "tuned", resume=True).card.provenance
    assert model.init.weights == ancestor.card.weights
    assert set(ancestor.card.provenance.training_pixels) < set(model.training_pixels)


def test_a_run_that_has_weights_of_its_own_takes_no_others(fit, cohort, ancestor):
    with pytest.raises(KeyboardInterrupt):
        fit(cohort, "run", report=stop_at(3))
    with pytest.raises(BadConfig, match="begun from other weights"):
        fit(cohort, "run", resume=True, init=ancestor.folder)


def test_folds_do_not_start_from_a_model_that_saw_what_they_hold_out(fit, cohort, caplog):
    all_rows = fit(cohort, "all")
    with pytest.raises(BadModel, match="hold out"):
        fit(cohort, "folds", "folds=2", init=all_rows.folder, training=train_folds)
    fit(cohort, "fold", "training.fold=0", "training.validations=1", init=all_rows.folder)
    assert "their Dice is too high" in caplog.text


def test_a_run_does_not_go_on_with_other_cases(fit, cohort):
    with pytest.raises(KeyboardInterrupt):
        fit(cohort, "run", "training.fold=0", report=stop_at(3))
    moved = [row if row.fold != 0 else replace(row, fold=1) for row in cohort.cases[:1]]
    dealt = cohort.with_cases((*moved, *cohort.cases[1:]))
    with pytest.raises(BadCohort, match="begun with other cases"):
        fit(dealt, "run", "training.fold=0", resume=True)
    fit(cohort, "run", "training.fold=0", resume=True)


def test_a_run_does_not_go_on_with_another_truth_of_the_same_volume(fit, here, tmp_path):
    cohort = tiny_cohort(tmp_path / "data", cases=2)
    with pytest.raises(KeyboardInterrupt):
        fit(cohort, "run", report=stop_at(3))
    truth = read_labels(cohort.cases[0].label)
    moved = LabelMap(np.roll(truth.data, 2, axis=1), truth.geometry, cohort.labels)
    write_labels(moved, cohort.cases[0].label)
    with pytest.raises(BadCohort, match="begun with other cases"):
        fit(cohort, "run", resume=True)


def test_what_was_planned_for_another_config_does_not_bind_a_run_that_gained_nothing(fit, cohort):
    late = "training.checkpoint_minutes=9"
    with pytest.raises(KeyboardInterrupt):
        fit(cohort, "run", late, report=stop_at(3))
    model = fit(cohort, "run", late, "training.steps=6", resume=True)
    assert model.card.provenance.steps == 6


def test_regions_that_no_mask_can_show_are_refused_before_any_work(fit, cohort, tmp_path):
    labels = LabelTable.from_card({"labels": {"ball": 1, "box": 3}, "regions": {"both": [1, 3]}})
    whole = load_cohort(write_cohort(replace(cohort, labels=labels), tmp_path / "one.yaml"))
    with pytest.raises(BadLabels, match="must paint one label"):
        fit(whole, "run")


def test_the_best_weights_need_something_to_be_chosen_by(fit, cohort):
    best = ["training.fold=0", "training.keep=best"]
    with pytest.raises(BadConfig, match="needs validations"):
        fit(cohort, "run", *best, "training.validations=0")
    bare = [replace(row, label=None) if row.fold == 0 else row for row in cohort.cases]
    with pytest.raises(BadCohort, match="needs scans to validate on"):
        fit(cohort.with_cases(tuple(bare)), "run", *best)
