"""Several processes train as one: one a GPU (or a share of the CPU), on one machine or many.

The processes are started by ``medseg train`` itself, by ``torchrun`` or by Slurm's ``srun``, which
say in the environment who is who. Every process trains on its part of each batch; the first
alone writes files, prepares the cases and validates, while the others wait for it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from medseg.errors import BadConfig

#: The others wait for the first one's preparing and validating, which may take hours.
_PATIENCE = timedelta(hours=24)

#: Seconds between looks at the parent, and until an orphan that does not end is ended.
_LOOK_SECONDS, _GRACE_SECONDS = 0.5, 60.0


@dataclass(frozen=True)
class World:
    """All processes of a run, and which of them this is.

    Attributes:
        rank: number of this process.
        size: how many there are.
        local_rank: number of this process on its machine.
        nodes: machines.
        is_held: whether the parent of these processes holds the lock of the run's folder.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    nodes: int = 1
    is_held: bool = False

    @property
    def first(self) -> bool:
        """Whether this process writes, prepares and validates."""
        return self.rank == 0

    def device(self, chosen: torch.device) -> torch.device:
        """The device of this process, where each has a GPU of its own."""
        if self.size == 1 or chosen.type == "cpu":
            return chosen
        return torch.device(chosen.type, self.local_rank)

    def wait(self) -> None:
        """Go on when all processes are here."""
        if self.size > 1:
            dist.barrier()


def join_processes(device: torch.device) -> World:
    """Meet the other processes of the run, if a launcher started any.

    Raises:
        BadConfig: Slurm does not say how many tasks run on each node.
    """
    launcher = _launcher()
    if launcher is None or launcher.world_size() == 1:
        return World()
    meeting = os.environ.get("MEDSEG_MEETING")
    world = World(
        launcher.global_rank(),
        launcher.world_size(),
        launcher.local_rank(),
        _nodes(launcher),
        is_held=meeting is not None,
    )
    if meeting is not None:
        end_with_parent(int(os.environ["MEDSEG_PARENT"]))
    if not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(world.device(device))
        backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
        if meeting is None:
            os.environ["MASTER_ADDR"] = launcher.main_address
            os.environ["MASTER_PORT"] = str(launcher.main_port)
        dist.init_process_group(
            backend,
            init_method=None if meeting is None else f"file://{meeting}",
            rank=world.rank,
            world_size=world.size,
            timeout=_PATIENCE,
        )
    return world


def end_with_parent(parent: int) -> None:
    """Watch from a thread whether the parent lives; once it does not, end as SIGTERM would.

    Args:
        parent: process id.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)  # the state is kept after the step
        time.sleep(_GRACE_SECONDS)
        os._exit(1)  # it waits for a process that is gone

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()


def leave_processes() -> None:
    """Part from the others at the end of a run."""
    if dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def srun_not_needed() -> Iterator[None]:
    """No hint of Lightning's that `srun` lies unused: one process needs no launcher."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The `srun` command is available")
        yield


def _launcher() -> ClusterEnvironment | None:
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    with srun_not_needed():
        if not SLURMEnvironment.detect():
            return None
    if int(os.environ["SLURM_NTASKS"]) > 1 and "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise BadConfig(
            "Slurm does not say how many processes run on each node",
            found=f"--ntasks={os.environ['SLURM_NTASKS']}",
            expected="--ntasks-per-node",
        )
    return SLURMEnvironment()


def _nodes(launcher: ClusterEnvironment) -> int:
    if isinstance(launcher, SLURMEnvironment):
        return int(os.environ.get("SLURM_NNODES", "1"))
    return launcher.world_size() // int(os.environ["LOCAL_WORLD_SIZE"])
