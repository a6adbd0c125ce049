"""A time budget becomes steps that fill it, with a hard end, by a clock of our own."""

import json

import pytest
import torch

from medseg.config import TrainConfig, override, validate
from medseg.errors import TrainingFailed
from medseg.training import Run, begin_run, callbacks, read_curves, train, watch
from medseg.training import budget as budget_module
from medseg.training import loop as loop_module
from medseg.training import validate as validate_module
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


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("budget") / "cache"


@pytest.fixture
def run_with_clock(cohort, cache, tmp_path, monkeypatch):
    """Train with steps that take `seconds_of(step)` on a clock that started `late` ago."""

    def run(seconds_of, *assignments, prepared_in=0.0):
        clock = Clock()
        monkeypatch.setattr(budget_module, "monotonic", clock)

        def timed(self, batch, batch_idx):
            """Learns nothing: of a step only its time counts here."""
            clock.now += seconds_of(self.trainer.global_step)
            self.network.zero_grad(set_to_none=True)
            return 0 * sum(each.sum() for each in self.network.parameters())

        monkeypatch.setattr(SegmentationTask, "training_step", timed)
        config = validate(TrainConfig, override(PLAN, [*BUDGET, *assignments]))
        begin_run(tmp_path / "run", config, resume=False)
        place = Run(tmp_path / "run", torch.device("cpu"), clock.now, cache)
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


@pytest.mark.parametrize(("first", "later"), [(1.0, 0.5), (0.5, 2.0)], ids=["quicker", "slower"])
def test_steps_that_change_their_pace_still_fill_the_budget(run_with_clock, first, later):
    steps, facts, seconds = run_with_clock(
        lambda step: first if step < 20 else later, "training.minutes=2"
    )
    assert steps == facts["steps"]
    assert 120 * 0.95 <= seconds <= 120 * 1.05
    plan, *corrections = facts["plans"]
    assert plan[1] != steps
    assert 2 <= len(corrections) <= 5


@pytest.mark.slow
def test_steps_that_become_slower_at_the_end_are_cut_at_the_deadline(run_with_clock, caplog):
    steps, facts, seconds = run_with_clock(
        lambda step: 0.5 if step < 222 else 4.0, "training.minutes=2"
    )
    assert steps < facts["steps"]
    assert 120 * 0.95 <= seconds <= 120
    assert f"time is up after {steps} steps" in caplog.text


def test_a_budget_that_ends_in_the_warmup_leaves_no_model(run_with_clock, tmp_path):
    with pytest.raises(TrainingFailed, match="before the warm-up") as refused:
        run_with_clock(lambda step: 10.0, "training.minutes=0.5")
    assert "2 steps" in refused.value.found
    assert not (tmp_path / "run" / "model").exists()


def undrawn(monkeypatch):
    """No pictures, and the same clock for what happens beside the steps."""
    monkeypatch.setattr(watch, "picture_of", lambda *_: b"")
    monkeypatch.setattr(callbacks, "monotonic", lambda: budget_module.monotonic())


@pytest.fixture
def slow_scans(monkeypatch):
    """Scans that take so many seconds each to segment; counts them."""
    undrawn(monkeypatch)
    segmented = []

    def slow(seconds):
        plain = validate_module.segment

        def timed(*args, **options):
            budget_module.monotonic.now += seconds
            segmented.append(seconds)
            return plain(*args, **options)

        monkeypatch.setattr(validate_module, "segment", timed)
        return segmented

    return slow


HELD_OUT = ["training.fold=0", "training.validations=5"]


@pytest.mark.parametrize("seconds", [3.0, pytest.param(8.0, marks=pytest.mark.slow), 13.0])
def test_of_slow_validations_as_many_remain_as_leave_half_of_the_time_to_steps(
    run_with_clock, slow_scans, caplog, tmp_path, seconds
):
    slow_scans(seconds)
    steps, facts, took = run_with_clock(lambda step: 0.5, "training.minutes=2", *HELD_OUT)
    assert steps == facts["steps"]
    assert 120 * 0.95 <= took <= 120 * 1.05
    assert steps > 0.4 * 120 / 0.5
    curves = read_curves(tmp_path / "run" / "curves.csv")
    validated = [int(row["step"]) for row in curves if row["dice"] and int(row["step"]) > 8]
    fits = facts["validations"]
    assert len(validated) == fits
    assert fits in {3.0: (5,), 8.0: (1, 2), 13.0: (1,)}[seconds]
    assert (f"there is time for {fits} of 5" in caplog.text) == (fits < 5)
    assert validated[-1] == steps


def test_validations_that_become_slower_do_not_take_the_steps_time(run_with_clock, monkeypatch):
    undrawn(monkeypatch)
    plain, seconds = watch.score_cases, [6.0, *[24.0] * 9]

    def timed(*args):
        budget_module.monotonic.now += seconds.pop(0)
        return plain(*args)

    monkeypatch.setattr(watch, "score_cases", timed)
    steps, facts, took = run_with_clock(lambda step: 0.5, "training.minutes=2", *HELD_OUT)
    assert 120 * 0.95 <= took <= 120 * 1.05
    assert steps > 0.4 * 120 / 0.5
    assert facts["validations"] < 5


def test_where_not_even_one_validation_fits_the_steps_go_on(run_with_clock, slow_scans, caplog):
    slow_scans(60.0)
    _steps, facts, took = run_with_clock(lambda step: 0.5, "training.minutes=2.5", *HELD_OUT)
    assert facts["validations"] == 0
    assert "there is time for 0 of 5" in caplog.text
    assert 150 * 0.95 <= took <= 150 * 1.05


def test_a_validation_in_the_warmup_that_takes_long_ends_early_and_is_no_result(
    run_with_clock, slow_scans, tmp_path
):
    segmented = slow_scans(13.0)
    run_with_clock(
        lambda step: 0.5, "training.minutes=2", "training.fold=0", "training.validations=1"
    )
    assert len(segmented) == 1 + 3, "one scan to tell the time, three in the end"
    curves = read_curves(tmp_path / "run" / "curves.csv")
    assert [int(row["step"]) > 8 for row in curves if row["dice"]] == [True]


def test_time_is_kept_for_the_masks_that_rules_are_learnt_from(
    run_with_clock, slow_scans, monkeypatch
):
    slow_scans(2.0)

    def gathered(config, cohort, run):
        budget_module.monotonic.now += 2.0 * 3

    monkeypatch.setattr(loop_module, "learn_on_fold", gathered)
    steps, facts, took = run_with_clock(
        lambda step: 0.5,
        "training.minutes=1",
        "training.rules=learn",
        "training.fold=0",
        "training.validations=2",
        "training.validation_cases=1",
    )
    assert steps == facts["steps"]
    assert 60 * 0.95 <= took <= 60 * 1.05


def test_the_last_validation_is_inside_the_budget(run_with_clock, monkeypatch):
    plain = watch.score_cases

    def timed(*args):
        budget_module.monotonic.now += 3.0
        return plain(*args)

    monkeypatch.setattr(watch, "score_cases", timed)
    undrawn(monkeypatch)
    steps, facts, seconds = run_with_clock(
        lambda step: 0.5, "training.minutes=1", "training.fold=0", "training.validations=4"
    )
    assert steps == facts["steps"]
    assert 60 * 0.95 <= seconds <= 60 * 1.05
