"""The step that a plan is tried with is the step of a run."""

import time

import pytest
import torch

from medseg.config import TrainConfig, override, validate
from medseg.training import Run, begin_run, module, train
from medseg.training.trial import take_steps
from tests.training.cohorts import partly_labelled, tiny_cohort
from tests.training.plans import PLAN

DEEP = "network.options={features: [4, 8, 8], deep_supervision: true}"
KINDS = {
    "labels in part": (partly_labelled, []),
    "slices": (tiny_cohort, ["dims=2", "patch=[16, 12]", "training.precision=bfloat16"]),
    "channels first": (tiny_cohort, ["training.layout=channels_first", DEEP]),
}


@pytest.mark.parametrize(("make", "changes"), KINDS.values(), ids=KINDS)
def test_a_trial_computes_what_a_run_computes(make, changes, tmp_path, monkeypatch):
    """Shapes, types and layout of all that the loss is given, which decide what memory it takes."""
    cohort = make(tmp_path / "data", cases=2, channels=("T1", "T2"))
    config = validate(TrainConfig, override(PLAN, ["training.steps=1", *changes]))
    plain, steps = module.deep_loss, []

    def noted(loss, logits, classes, known, **options):
        given = [*logits, classes, *([] if known is None else [known])]
        steps.append([(each.shape, each.dtype, each.stride()) for each in given])
        return plain(loss, logits, classes, known, **options)

    monkeypatch.setattr(module, "deep_loss", noted)
    cpu = torch.device("cpu")
    take_steps(config, cohort, cpu)
    trial = steps.pop()
    assert steps.pop() == trial, "its first step claims memory, its second is a step as any other"
    begin_run(tmp_path / "run", config, resume=False)
    place = Run(tmp_path / "run", cpu, time.monotonic())
    train(config, cohort, place, prepared=lambda *_: None, report=lambda *_, **__: None)
    assert steps == [trial]
