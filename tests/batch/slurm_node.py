"""A Slurm of one node, started and stopped by the tests that need it."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo", "squeue", "srun")
_SECONDS_TO_START = 60

_CONFIG = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={controller}
SlurmdPort={node}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=32000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
"""


def missing() -> str:
    """Why there can be no Slurm here, or empty."""
    absent = [name for name in PROGRAMS if _program(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (Debian: slurm-wlm, munge)"
    return "" if os.geteuid() == 0 else "a Slurm of one's own needs root"


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """A running Slurm; the environment for its commands.

    Raises:
        RuntimeError: it does not start.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    config = folder / "slurm.conf"
    config.write_text(
        _CONFIG.format(
            host=socket.gethostname().split(".")[0],
            folder=folder,
            controller=_free_port(),
            node=_free_port(),
        )
    )
    environment = os.environ | {"SLURM_CONF": str(config)}
    options = {
        "key-file": key,
        "socket": folder / "munge.socket",
        "log-file": folder / "m.log",
        "pid-file": folder / "m.pid",
        "seed-file": folder / "m.seed",
    }
    munge = ["munged", "--force", "--foreground", *(f"--{k}={v}" for k, v in options.items())]
    daemons = []
    try:
        for command in (munge, ["slurmctld", "-D"], ["slurmd", "-D"]):
            program = _program(command[0])
            daemons.append(
                subprocess.Popen(
                    [program, *command[1:]],
                    env=environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            time.sleep(1)
        _wait_until_idle(environment)
        yield environment
    finally:
        subprocess.run(
            ["scancel", "--user=root"], env=environment, capture_output=True, check=False
        )
        for daemon in reversed(daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def wait_for_jobs(environment: dict[str, str], seconds: float) -> None:
    """Until the queue is empty.

    Raises:
        TimeoutError: it is not.
    """
    deadline = time.monotonic() + seconds
    while _says(["squeue", "-h"], environment):
        if time.monotonic() > deadline:
            raise TimeoutError("jobs are still in the queue")
        time.sleep(1)


def _wait_until_idle(environment: dict[str, str]) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    while _says(["sinfo", "-h", "-o", "%T"], environment) != "idle":
        if time.monotonic() > deadline:
            raise RuntimeError("Slurm did not start")
        time.sleep(0.5)


def _says(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    ).stdout.strip()


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
