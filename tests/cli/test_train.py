"""Does ``medseg train`` say what happened, count its time from its start, and hand work on?"""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from medseg.cli import environment, run, train
from medseg.config import override
from tests.training.cohorts import tiny_cohort
from tests.training.plans import PLAN


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    cohort = tiny_cohort(folder / "data")
    path = folder / "plan.yaml"
    path.write_text(
        yaml.safe_dump(override(PLAN | {"cohort": str(cohort.path)}, ["training.steps=4"]))
    )
    return path


def test_the_closing_line_says_steps_waiting_skipped_and_dice(plan, tmp_path, capsys):
    assert run("train", plan, "training.fold=0", "--output", tmp_path / "run") == 0
    last = next(line for line in capsys.readouterr().out.splitlines() if "trained" in line)
    for said in ("trained 4 steps", "s a step", "waiting for patches", "0 steps skipped",
                 "Dice ", "kept the last", str(tmp_path / "run" / "model")):  # fmt: skip
        assert said in last
    assert (tmp_path / "run" / "curves.png").is_file()


def test_machines_are_told_the_same(plan, tmp_path, capsys):
    assert run("train", plan, "--output", tmp_path / "run", "--json") == 0
    events = map(json.loads, capsys.readouterr().out.splitlines())
    (last,) = [event for event in events if event["event"] == "message"]
    assert (last["steps"], last["non_finite_steps"], last["parts"], last["processes"]) == (
        4,
        0,
        1,
        1,
    )
    assert 0 <= last["data_wait"] <= 1


def test_much_waiting_comes_with_what_to_do(plan, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "_MUCH_WAITING", -1.0)
    assert run("train", plan, "--output", tmp_path / "run") == 0
    assert "training.workers=2" in capsys.readouterr().err


def test_several_processes_are_started_with_the_same_words(plan, tmp_path, monkeypatch):
    called = []

    def start(command, *, env):
        called.append((command, env))
        return SimpleNamespace(wait=lambda: 3)

    monkeypatch.setattr(subprocess, "Popen", start)
    before = time.monotonic()
    code = run(
        "train", plan, "training.processes=2", "training.seed=7",
        "--output", tmp_path / "run", "--resume", "--device", "cpu",
    )  # fmt: skip
    assert code == 3
    ((command, variables),) = called
    assert command[:5] == [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
    ]
    words = command[command.index("train") :]
    assert words[1:4] == [str(plan), "training.processes=2", "training.seed=7"]
    assert words[-1] == "--resume"
    assert before - 1 <= float(variables[environment.STARTED]) <= time.monotonic()
    assert not (tmp_path / "run").exists(), "the processes make it"


def test_ctrl_c_waits_for_the_processes_and_says_how_to_go_on(plan, tmp_path, monkeypatch, capsys):
    def wait():
        signal.raise_signal(signal.SIGINT)
        return 1

    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: SimpleNamespace(wait=wait))
    assert run("train", plan, "training.processes=2", "--output", tmp_path / "run") == 130
    assert "--resume" in capsys.readouterr().err


def test_a_command_began_when_its_process_did(tmp_path):
    program = (
        "import sys, time; sys.argv = ['medseg', 'train', 'plan.yaml']; time.sleep(0.5);"
        "from medseg.cli.environment import command_started;"
        "print(*(time.monotonic() - command_started(verb) for verb in ('train', 'demo')))"
    )
    call = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    of_the_command, of_a_step = map(float, call.stdout.split())
    assert of_the_command > 0.45
    assert of_a_step < 0.1
