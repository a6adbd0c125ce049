"""A step's cost is measured on the loop of a run, without leaving anything behind."""

import torch

from medseg.config import TrainConfig, override, validate
from medseg.training.pace import measure_steps
from tests.training.cohorts import tiny_cohort
from tests.training.plans import PLAN


def test_steps_are_timed_and_nothing_but_prepared_cases_is_left(tmp_path):
    cohort = tiny_cohort(tmp_path / "data", cases=3)
    config = validate(TrainConfig, override(PLAN, ["training.steps=500"]))
    cost = measure_steps(
        config, cohort, tmp_path / "cache", torch.device("cpu"), steps=4, untimed=2
    )
    assert len(cost.seconds) == 4
    assert min(cost.seconds) > 0
    assert 0 <= cost.data_wait < 1
    assert cost.peak_bytes == 0
    assert cost.parts == 1
    assert 0 < cost.loss < 10
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".safetensors"}
