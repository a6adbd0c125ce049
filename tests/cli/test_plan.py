"""``medseg plan`` writes a config that ``medseg train`` can run."""

import pytest
import torch
import yaml
from typer.testing import CliRunner

from medseg.cli import run
from medseg.cli.app import app
from medseg.cli.plan import _tried
from medseg.config import TrainConfig, validate
from medseg.model import load_model
from medseg.planning import Machine, plan_text
from medseg.training import trial
from tests.test_planned_cohorts import planned
from tests.test_planning import cohort_of
from tests.training.cohorts import tiny_cohort


@pytest.fixture
def cohort(tmp_path):
    return tiny_cohort(tmp_path / "data", shape=(20, 18, 16))


def test_a_plan_lies_where_asked_and_finds_its_card_from_there(cohort, tmp_path, capfd):
    output = tmp_path / "plans" / "plan.yaml"
    assert run("plan", cohort.path, "--output", output, "--minutes", 2, "--device", "cpu") == 0
    values = yaml.safe_load(output.read_text())
    config = validate(TrainConfig, values)
    assert (output.parent / config.cohort).resolve() == cohort.path.resolve()
    assert config.training.minutes == 2
    assert config.prepare.normalise[0].kind == "window"
    said = capfd.readouterr().out
    assert "×".join(map(str, config.patch)) in said
    assert "GB" in said


def test_what_is_said_of_several_scans_is_said_once(tmp_path, capfd):
    cohort = tiny_cohort(tmp_path / "data", cases=2, shape=(20, 18, 1), channels=("T1", "T2"))
    cohort.path.write_text(cohort.path.read_text().replace("labels:", "labels:\n  stone: 9"))
    assert run("plan", cohort.path, "--output", tmp_path / "plan.yaml", "--device", "cpu") == 0
    said = capfd.readouterr().err
    assert "in no train mask, so it cannot be learnt: stone\n" in said
    assert said.count("single slice") == 1
    assert "case_00, case_01: the scan is a single slice\n" in said


@pytest.mark.slow
def test_the_plan_trains(cohort, tmp_path):
    output = tmp_path / "plan.yaml"
    assert run("plan", cohort.path, "--output", output, "--quiet", "--device", "cpu") == 0
    changes = ["training.minutes=null", "training.steps=3"]
    call = ["train", output, *changes, "--output", tmp_path / "run", "--quiet"]
    assert run(*call, "--device", "cpu") == 0
    assert load_model(tmp_path / "run" / "model").card.provenance.steps == 3


def test_an_unreadable_scan_is_named_and_the_rest_planned(cohort, tmp_path, capfd):
    cohort.case("case_02").sources[0].write_bytes(b"nothing to see")
    output = tmp_path / "plan.yaml"
    assert run("plan", cohort.path, "--output", output, "--quiet", "--device", "cpu") == 1
    assert "case_02" in capfd.readouterr().err
    validate(TrainConfig, yaml.safe_load(output.read_text()))


def test_dims_memory_and_preset_are_heard(cohort, tmp_path):
    output = tmp_path / "plan.yaml"
    call = ["plan", cohort.path, "--output", output, "--quiet", "--device", "cpu"]
    assert run(*call, "--dims", 2, "--preset", "accurate", "--memory", "4GB") == 0
    config = validate(TrainConfig, yaml.safe_load(output.read_text()))
    assert config.dims == 2
    assert config.network.name == "residual_unet"


@pytest.mark.parametrize("wrong", [["--preset", "best"], ["--dims", 4], ["--memory", "4"]])
def test_a_wrong_call_is_exit_code_2(cohort, tmp_path, wrong):
    output = tmp_path / "plan.yaml"
    call = ["plan", cohort.path, "--output", output, "--quiet", *wrong]
    assert CliRunner().invoke(app, [str(word) for word in call]).exit_code == 2
    assert not output.exists()


def test_a_plan_that_takes_a_quarter_more_than_foretold_is_cut_back_once(monkeypatch):
    """Its size is held against the GPU's own memory, not against the smaller goal."""
    machine, foretold, asked = Machine(600, 8e9, 5e12, "a GPU", "cuda"), {}, []

    def plan_for(machine):
        plan = planned("whole-body CT", machine, preset="standard")
        foretold[plan.config.model_dump_json()] = plan.memory_bytes
        asked.append(machine.memory_bytes)
        return plan

    def measured(config, *words):
        return 1.25 * foretold[config.model_dump_json()]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(trial, "memory_of_a_step", measured)
    chosen = _tried(plan_for(machine), plan_for, machine, cohort_of())
    assert asked == pytest.approx([8e9, 6.4e9])
    assert 0.9 * 8e9 < chosen.memory_bytes <= 8e9
    assert f"about {chosen.memory_bytes / 1e9:.1f} GB" in plan_text(chosen)
