"""Several processes train as one: two on this machine, over gloo; and die as one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from medseg.config import TrainConfig, override, validate
from medseg.errors import BadConfig
from medseg.model import load_model
from medseg.training import Run, World, begin_run, join_processes, read_curves, train
from tests.training.cohorts import tiny_cohort
from tests.training.plans import PLAN, STEPS

SHARED = ["training.batch=4", "network.options={features: [4, 8]}", "training.fold=0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def cohort(folder):
    return tiny_cohort(folder / "data")


@pytest.fixture(scope="module")
def plan(folder, cohort):
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(override(PLAN | {"cohort": str(cohort.path)}, SHARED)))
    return path


@pytest.fixture(scope="module")
def alone(folder, cohort):
    config = validate(TrainConfig, override(PLAN, SHARED))
    begin_run(folder / "alone", config, resume=False)
    place = Run(folder / "alone", torch.device("cpu"), time.monotonic(), folder / "cache")
    return train(config, cohort, place, prepared=lambda *_: None, report=lambda *_, **__: None)


def call(repository, *words, **environment):
    places = {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1", "MEDSEG_NO_REEXEC": "1"}
    return subprocess.run(
        [sys.executable, "-m", *words],
        env=os.environ | places | environment,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_without_a_launcher_a_process_is_alone():
    world = join_processes(torch.device("cpu"))
    assert world == World()
    assert world.first
    assert world.device(torch.device("cuda", 3)) == torch.device("cuda", 3)
    world.wait()


def test_each_process_takes_the_gpu_of_its_number_on_its_machine():
    world = World(rank=5, size=8, local_rank=1, nodes=2)
    assert world.device(torch.device("cuda", 0)) == torch.device("cuda", 1)
    assert not world.first


SLURM = {
    "NTASKS": "8",
    "NTASKS_PER_NODE": "4",
    "PROCID": "5",
    "LOCALID": "1",
    "NODEID": "1",
    "NNODES": "2",
    "JOB_NAME": "train",
    "JOB_ID": "123456",
    "NODELIST": "node[01-02]",
}


def test_srun_says_who_is_who(monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # so that what is set here is undone
        monkeypatch.delenv(name)
    met = []
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *a, **k: met.append((a, k)))
    world = join_processes(torch.device("cpu"))
    assert world == World(rank=5, size=8, local_rank=1, nodes=2)
    (((backend,), how),) = met
    assert (backend, how["rank"], how["world_size"]) == ("gloo", 5, 8)
    assert os.environ["MASTER_ADDR"] == "node01"
    assert os.environ["MASTER_PORT"] == str(15000 + 3456)


def test_srun_without_tasks_a_node_is_refused(monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE")
    with pytest.raises(BadConfig, match=r"--ntasks=8, expected --ntasks-per-node"):
        join_processes(torch.device("cpu"))


def test_a_single_task_of_slurm_is_alone(monkeypatch):
    for name, value in (SLURM | {"NTASKS": "1"}).items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert join_processes(torch.device("cpu")) == World()


def test_a_batch_that_cannot_be_shared_evenly_is_refused(cohort, tmp_path):
    config = validate(TrainConfig, override(PLAN, ["training.batch=3"]))
    place = Run(tmp_path / "run", torch.device("cpu"), 0.0, world=World(0, 2))
    with pytest.raises(BadConfig, match=r"batch 3, 2 processes, expected a multiple of 2"):
        train(config, cohort, place, prepared=lambda *_: None, report=lambda *_, **__: None)


@pytest.mark.slow
def test_two_processes_with_half_the_batch_each_follow_one_with_all(
    folder, plan, alone, repository
):
    done = call(
        repository,
        "medseg",
        "train",
        str(plan),
        "training.processes=2",
        "--output",
        str(folder / "two"),
        "--cache",
        str(folder / "cache"),
        "--device",
        "cpu",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"trained {STEPS} steps") == 1, "one process speaks for both"
    two = load_model(folder / "two" / "model")
    assert two.card.provenance.pace.processes == 2
    for name in ("loss", "dice"):
        one_by_one, together = (
            [float(row[name]) for row in read_curves(place / "curves.csv") if row[name]]
            for place in (folder / "alone", folder / "two")
        )
        assert together == pytest.approx(one_by_one, rel=2e-3)
    ours, theirs = (model.networks()[0].state_dict() for model in (alone, two))
    for name, value in ours.items():
        assert torch.allclose(value, theirs[name], atol=2e-3), name


@pytest.mark.slow
def test_torchrun_starts_a_budget_that_both_processes_end_together(folder, plan, repository):
    done = call(
        repository,
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "medseg",
        "train",
        str(plan),
        "training.steps=null",
        "training.minutes=0.4",
        "training.warmup=8",
        "--output",
        str(folder / "budget"),
        "--device",
        "cpu",
        "--cache",
        str(folder / "cache"),
    )
    assert done.returncode == 0, done.stderr
    card = load_model(folder / "budget" / "model").card
    assert card.provenance.pace.processes == 2
    assert card.provenance.steps > 8
    assert card.provenance.seconds < 60


@pytest.mark.slow
def test_a_refusal_in_the_first_process_ends_all(folder, plan, repository):
    done = call(
        repository,
        "medseg",
        "train",
        str(plan),
        "training.processes=2",
        "training.batch=3",
        "--output",
        str(folder / "refused"),
        "--device",
        "cpu",
    )
    assert done.returncode != 0
    assert "cannot be shared evenly" in done.stderr


def children_of(process):
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in path.read_text().split()]


def listening_addresses(pid):
    """Local addresses at which a process listens, in the kernel's hexadecimal."""
    links = Path(f"/proc/{pid}/fd").iterdir()
    inodes = {str(link.readlink()) for link in links if link.is_symlink()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            cells = line.split()
            if cells[3] == "0A" and f"socket:[{cells[9]}]" in inodes:
                found.add(cells[1].split(":")[0])
    return found


LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


def wait_until(holds, seconds=150):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.2)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_processes_end_with_their_parent_and_nobody_starts_beside_them(folder, plan, repository):
    """The parent is killed; its processes keep their state, and only then may --resume begin."""
    words = [
        "train",
        str(plan),
        "training.processes=2",
        "training.steps=4000",
        "--device",
        "cpu",
        "training.validations=0",
        "--output",
        str(folder / "orphans"),
        "--cache",
        str(folder / "cache"),
    ]
    places = {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1", "MEDSEG_NO_REEXEC": "1"}
    parent = subprocess.Popen(
        [sys.executable, "-m", "medseg", *words],
        env=os.environ | places,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until((folder / "orphans" / "curves.csv").is_file)
    children = children_of(parent)
    assert len(children) == 2
    for pid in (parent.pid, *children):
        assert listening_addresses(pid) <= LOOPBACK
    refused = call(repository, "medseg", *words, "--resume")
    assert refused.returncode == 1
    assert "another run is writing to this folder" in refused.stderr
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not any(map(alive, children)))
    state = torch.load(folder / "orphans" / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["global_step"] >= 10


@pytest.mark.slow
def test_sigterm_to_the_parent_keeps_the_state_of_both(folder, plan, repository):
    words = [
        "train",
        str(plan),
        "training.processes=2",
        "training.steps=4000",
        "--device",
        "cpu",
        "training.validations=0",
        "training.checkpoint_minutes=60",
        "--output",
        str(folder / "term"),
        "--cache",
        str(folder / "cache"),
    ]
    places = {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1", "MEDSEG_NO_REEXEC": "1"}
    parent = subprocess.Popen(
        [sys.executable, "-m", "medseg", *words],
        env=os.environ | places,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until((folder / "term" / "curves.csv").is_file)
    parent.send_signal(signal.SIGTERM)
    _, errors = parent.communicate(timeout=120)
    assert parent.returncode == 130, errors
    assert "Go on with --resume" in errors
    assert "Traceback" not in errors
    assert not (folder / "term" / "run.lock").exists()
    path = folder / "term" / "checkpoints" / "last.ckpt"
    assert torch.load(path, weights_only=True)["global_step"] >= 10
