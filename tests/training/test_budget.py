"""Does a time budget become steps that fill it, with a hard end?  With a clock of our own."""

import json

import pytest
import torch

from medseg.config import TrainConfig, override, validate
from medseg.training import Run, begin_run, callbacks, train, watch
from medseg.training import budget as budget_module
from medseg.training.module import SegmentationTask
from tests.training.cohorts import tiny_cohort
from tests.training.plans import PLAN

BUDGET = ["training.steps=null", "training.checkpoint_minutes=99", "training.warmup=8"]


class Clock:
    """Time that passes as told."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return tiny_cohort(tmp_path_factory.mktemp("budget") / "data")


@pytest.fixture
def run_with_clock(cohort, tmp_path, monkeypatch):
    """Train with steps that take `seconds_of(step)` on a clock that started `late` ago."""

    def run(seconds_of, *assignments, prepared_in=0.0):
        clock = Clock()
        monkeypatch.setattr(budget_module, "monotonic", clock)
        plain = SegmentationTask.training_step

        def timed(self, batch, batch_idx):
            clock.now += seconds_of(self.trainer.global_step)
            return plain(self, batch, batch_idx)

        monkeypatch.setattr(SegmentationTask, "training_step", timed)
        config = validate(TrainConfig, override(PLAN, [*BUDGET, *assignments]))
        begin_run(tmp_path / "run", config, resume=False)
        place = Run(tmp_path / "run", torch.device("cpu"), clock.now, tmp_path / "cache")
        clock.now += prepared_in
        model = train(config, cohort, place, prepared=lambda *_: None, report=lambda *_, **__: None)
        facts = json.loads((tmp_path / "run" / "schedule.json").read_text())
        return model.card.provenance.steps, facts, clock.now - place.started

    return run


def test_a_minute_of_steps_of_half_a_second_is_filled_preparing_included(run_with_clock):
    steps, facts, seconds = run_with_clock(lambda step: 0.5, "training.minutes=1", prepared_in=20)
    assert facts["seconds_a_step"] == 0.5
    assert steps == facts["steps"]
    assert 60 * 0.95 <= seconds <= 60 * 1.05
    assert steps == pytest.approx((60 - 20) / 0.5, rel=0.08)


def test_slow_first_steps_do_not_count(run_with_clock):
    steps, facts, seconds = run_with_clock(
        lambda step: 5.0 if step < 2 else 0.5, "training.minutes=1"
    )
    assert facts["seconds_a_step"] == 0.5
    assert 60 * 0.95 <= seconds <= 60 * 1.05
    assert steps < 60 / 0.5


@pytest.mark.parametrize("later", [0.25, 2.0], ids=["quicker", "slower"])
def test_steps_that_change_their_pace_still_fill_the_budget(run_with_clock, later):
    steps, facts, seconds = run_with_clock(
        lambda step: 0.5 if step < 20 else later, "training.minutes=2"
    )
    assert steps == facts["steps"]
    assert 120 * 0.95 <= seconds <= 120 * 1.05
    first, *corrections = facts["plans"]
    assert first[1] != steps
    assert 2 <= len(corrections) <= 4


def test_steps_that_become_slower_at_the_end_are_cut_at_the_deadline(run_with_clock, caplog):
    steps, facts, seconds = run_with_clock(
        lambda step: 0.5 if step < 222 else 4.0, "training.minutes=2"
    )
    assert steps < facts["steps"]
    assert 120 * 0.95 <= seconds <= 120
    assert f"time is up after {steps} steps" in caplog.text


def test_a_warmup_longer_than_the_budget_is_cut_too(run_with_clock):
    steps, facts, seconds = run_with_clock(lambda step: 10.0, "training.minutes=0.5")
    assert steps == facts["steps"] == 2
    assert seconds <= 30


def test_the_last_validation_is_inside_the_budget(run_with_clock, monkeypatch):
    plain = watch.score_cases

    def timed(*args):
        budget_module.monotonic.now += 3.0
        return plain(*args)

    monkeypatch.setattr(watch, "score_cases", timed)
    monkeypatch.setattr(watch, "picture_of", lambda *_: b"")
    monkeypatch.setattr(callbacks, "monotonic", lambda: budget_module.monotonic())
    steps, facts, seconds = run_with_clock(
        lambda step: 0.5, "training.minutes=1", "training.fold=0", "training.validations=4"
    )
    assert steps == facts["steps"]
    assert 60 * 0.95 <= seconds <= 60 * 1.05
