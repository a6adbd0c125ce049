"""A run that diverges fails and leaves no model; a step lost to 16 bits is computed again."""

import time

import pytest
import torch
import yaml

from medseg.cli import run
from medseg.config import TrainConfig, override, validate
from medseg.errors import TrainingFailed
from medseg.networks.unet import UNet
from medseg.training import Run, begin_run, converged, train
from medseg.training.module import SegmentationTask
from tests.training.cohorts import tiny_cohort
from tests.training.plans import PLAN, STEPS


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return tiny_cohort(tmp_path_factory.mktemp("converged") / "data")


@pytest.fixture
def fit(cohort, tmp_path):
    def fit(*assignments):
        config = validate(TrainConfig, override(PLAN, assignments))
        begin_run(tmp_path / "run", config, resume=False)
        place = Run(
            tmp_path / "run", torch.device("cpu"), time.monotonic(), cohort.path.parent / "cache"
        )
        return train(config, cohort, place, prepared=lambda *_: None, report=lambda *_, **__: None)

    return fit


@pytest.fixture
def broken_from(monkeypatch):
    """Make the loss infinite from a step on, or up to a step, or something else of it."""

    def break_from(step, until=10**9, how=lambda loss: loss * float("inf")):
        plain = SegmentationTask.training_step

        def sometimes(self, batch, batch_idx):
            loss = plain(self, batch, batch_idx)
            return how(loss) if step <= self.trainer.global_step < until else loss

        monkeypatch.setattr(SegmentationTask, "training_step", sometimes)

    return break_from


def test_a_run_of_which_most_steps_were_skipped_fails(fit, broken_from, tmp_path):
    broken_from(4)
    with pytest.raises(TrainingFailed, match=r"diverged.*8 of 12 steps skipped.*learning_rate"):
        fit()
    assert not (tmp_path / "run" / "model").exists()


NOT_FINITE = {
    "NaN, gradients too": lambda loss: loss * float("nan"),
    "NaN, gradients finite": lambda loss: loss + float("nan"),
    "infinite, gradients finite": lambda loss: loss + float("inf"),
    "gradients too large": lambda loss: loss * 1e38 * 1e38,
}


@pytest.mark.parametrize("how", NOT_FINITE.values(), ids=NOT_FINITE)
def test_a_run_whose_last_steps_were_all_skipped_fails(fit, broken_from, tmp_path, how):
    broken_from(STEPS - 3, how=how)
    with pytest.raises(TrainingFailed, match=rf"diverged.*the last 3 of {STEPS} steps skipped"):
        fit()
    assert not (tmp_path / "run" / "model").exists()


def test_a_single_skipped_step_is_told_and_leaves_a_model(fit, broken_from, caplog):
    broken_from(4, until=5)
    assert fit().card.provenance.non_finite_steps == 1
    assert f"1 of {STEPS} steps were skipped" in caplog.text


def test_weights_that_are_finite_and_far_off_make_no_model(fit, monkeypatch, tmp_path):
    def large(setup, task, outcome):
        return {name: value * 1e3 for name, value in task.network.state_dict().items()}

    monkeypatch.setattr(converged, "weights_kept", large)
    with pytest.raises(TrainingFailed, match="where even logits of 0 have"):
        fit()
    assert not (tmp_path / "run" / "model").exists()


def test_a_run_without_hope_ends_long_before_its_last_step(fit, broken_from):
    broken_from(2)
    with pytest.raises(TrainingFailed, match="50 steps in a row"):
        fit("training.steps=100000", "training.checkpoint_minutes=60")


def test_a_learning_rate_that_explodes_fails_with_exit_code_1(cohort, tmp_path, capfd):
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump(PLAN | {"cohort": str(cohort.path)}))
    words = ["train", plan, "training.learning_rate=1e38", "--output", tmp_path / "run"]
    assert run(*words, "--device", "cpu", "--quiet") == 1
    assert "the training diverged" in capfd.readouterr().err
    assert not (tmp_path / "run" / "model").exists()
    assert run(*words, "--device", "cpu", "--quiet", "--resume") == 1, "nor does it on resuming"


def test_weights_that_answer_with_infinity_make_no_model(fit, monkeypatch, tmp_path):
    def huge(setup, task, outcome):
        return {name: value.sign() * 1e38 for name, value in task.network.state_dict().items()}

    monkeypatch.setattr(converged, "weights_kept", huge)
    with pytest.raises(TrainingFailed, match="in the logits"):
        fit()
    assert not (tmp_path / "run" / "model").exists()


def test_a_gradient_lost_to_16_bits_is_computed_again_in_float32(fit, monkeypatch):
    plain, forward, dtypes = SegmentationTask._loss, UNet.forward_deep, []

    def lossy(self, batch):
        loss = plain(self, batch)
        is_lost = self.trainer.global_step in (2, 5) and not self._in_float32
        return loss * float("nan") if is_lost else loss

    def watched(self, image):
        levels = forward(self, image)
        dtypes.append(levels[0].dtype)
        return levels

    monkeypatch.setattr(SegmentationTask, "_loss", lossy)
    monkeypatch.setattr(UNet, "forward_deep", watched)
    source = fit("training.precision=bfloat16").card.provenance
    assert (source.steps, source.non_finite_steps, source.float32_steps) == (STEPS, 0, 2)
    lost = [n for n, dtype in enumerate(dtypes) if dtype == torch.float32]
    assert lost == [3, 7], "the try after the one that failed, and no other"
