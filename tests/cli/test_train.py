"""``medseg train`` says what happened, counts its time from its start, and hands work on."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from medseg.cli import environment, local_processes, run, train
from medseg.config import override
from medseg.training import hold_run
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
    for said in (
        "trained 4 steps",
        "s a step",
        "waiting for patches",
        "0 steps skipped",
        "Dice ",
        "kept the last",
        str(tmp_path / "run" / "model"),
    ):
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


class Child:
    """A process that ends with a code, or once it is signalled."""

    def __init__(self, command, *, env, stderr, pass_fds, start_new_session):
        self.command, self.env, self.signals = command, env, []
        self.returncode = None
        assert start_new_session, "the terminal's Ctrl-C must not reach it twice"
        self.descriptors = pass_fds
        self.errors = stderr

    def poll(self):
        return self.returncode

    def send_signal(self, number):
        self.signals.append(number)
        self.returncode = 130


@pytest.fixture
def children(monkeypatch):
    """Processes that are only noted; `children.end` says how the next look finds them."""
    started = []

    def start(*args, **options):
        started.append(Child(*args, **options))
        return started[-1]

    monkeypatch.setattr(local_processes.subprocess, "Popen", start)
    return started


def looked_at(monkeypatch, change):
    monkeypatch.setattr(local_processes.time, "sleep", lambda seconds: change())


def test_several_processes_are_started_with_the_same_words(plan, tmp_path, monkeypatch, children):
    def end():
        children[0].returncode, children[1].returncode = 3, 0

    looked_at(monkeypatch, end)
    before = time.monotonic()
    code = run(
        "train",
        plan,
        "training.processes=2",
        "training.seed=7",
        "--output",
        tmp_path / "run",
        "--resume",
        "--device",
        "cpu",
    )
    assert code == 3
    for rank, child in enumerate(children):
        assert child.command[:4] == [sys.executable, "-m", "medseg", "train"]
        assert child.command[4:7] == [str(plan), "training.processes=2", "training.seed=7"]
        assert child.command[-1] == "--resume"
        assert (child.env["RANK"], child.env["WORLD_SIZE"]) == (str(rank), "2")
        assert child.env["GLOO_SOCKET_IFNAME"].startswith("lo")
        assert before - 1 <= float(child.env[environment.STARTED]) <= time.monotonic()
    assert not (tmp_path / "run" / "run.lock").exists()


def test_ctrl_c_waits_for_the_processes_and_says_how_to_go_on(
    plan, tmp_path, monkeypatch, children, capsys
):
    looked_at(monkeypatch, lambda: signal.raise_signal(signal.SIGINT))
    assert run("train", plan, "training.processes=2", "--output", tmp_path / "run") == 130
    assert "--resume" in capsys.readouterr().err
    assert [child.signals for child in children] == [[signal.SIGTERM]] * 2


def test_where_one_process_fails_the_others_end_and_its_error_is_shown(
    plan, tmp_path, monkeypatch, children, capsys
):
    def fail():
        if children[1].returncode is None:
            Path(children[1].errors.name).write_text("medseg: error: rank 1 ran out of memory\n")
            children[1].returncode = 1

    looked_at(monkeypatch, fail)
    assert run("train", plan, "training.processes=2", "--output", tmp_path / "run") == 1
    assert "rank 1 ran out of memory" in capsys.readouterr().err
    assert children[0].signals == [signal.SIGTERM]


def test_a_second_train_in_one_folder_is_refused(plan, tmp_path, capfd):
    with hold_run(tmp_path / "run"):
        for more in ([], ["--resume"], ["training.processes=2"], ["--resume", "--break-lock"]):
            assert run("train", plan, "--output", tmp_path / "run", *more) == 1
            assert "another run is writing to this folder" in capfd.readouterr().err
    (tmp_path / "run" / "run.lock").write_text("elsewhere 12\n")
    assert run("train", plan, "--output", tmp_path / "run", "--quiet") == 1
    assert "--break-lock" in capfd.readouterr().err
    assert run("train", plan, "--output", tmp_path / "run", "--quiet", "--break-lock") == 0


def test_a_command_began_when_its_process_did(tmp_path):
    program = (
        "import sys, time; sys.argv = ['medseg', 'train', 'plan.yaml']; time.sleep(0.5);"
        "from medseg.cli.environment import command_started;"
        "print(*(time.monotonic() - command_started(verb) for verb in ('train', 'demo')))"
    )
    call = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    of_the_command, of_a_step = map(float, call.stdout.split())
    assert of_the_command > 0.45
    assert of_a_step < 0.1
