"""Runs the processes of one training on this machine, with no port that others can reach.

The processes meet in a file instead of at a port and talk over the loopback device alone. They
end when their parent ends, however that dies.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer

from medseg.cli.environment import STARTED
from medseg.cli.exits import INTERRUPTED, Interrupted
from medseg.scratch import scratch_folder

#: Tell a process where it meets the others, and whose child it is.
MEETING, PARENT = "MEDSEG_MEETING", "MEDSEG_PARENT"

#: Seconds that the others have to end by themselves when one has failed.
_PATIENCE = 5.0

_Child = subprocess.Popen[bytes]


def train_together(count: int, words: Sequence[str], *, started: float, lock: int) -> int:
    """Run ``medseg train`` in several processes; returns the exit code.

    Args:
        count: processes.
        words: arguments of the verb.
        started: ``time.monotonic()`` when the command began.
        lock: descriptor of the run folder's lock, held until the last process has ended.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; the processes have kept their state.
    """
    with scratch_folder() as meeting:
        errors = [meeting / f"errors-{rank}" for rank in range(count)]
        children = [
            _start(words, _environment(rank, count, meeting, started), lock, errors[rank])
            for rank in range(count)
        ]
        with _signals_passed_on(children) as signals:
            _wait(children)
        if signals:
            raise Interrupted("Go on with --resume.")
        codes = [child.returncode for child in children]
        if codes[0] not in (0, INTERRUPTED) or not any(codes):
            return codes[0]
        guilty = next(rank for rank, code in enumerate(codes) if code not in (0, INTERRUPTED))
        typer.echo(errors[guilty].read_text(errors="replace"), err=True, nl=False)
        return codes[guilty] if codes[guilty] > 0 else 1


def _start(words: Sequence[str], environment: dict[str, str], lock: int, errors: Path) -> _Child:
    """One process, out of the terminal's reach; the first one's errors are shown at once."""
    command = [sys.executable, "-m", "medseg", "train", *words]
    with errors.open("wb") as file:
        return subprocess.Popen(
            command,
            env=environment,
            stderr=None if environment["RANK"] == "0" else file,
            pass_fds=[lock],
            start_new_session=True,
        )


def _environment(rank: int, count: int, meeting: Path, started: float) -> dict[str, str]:
    """Who a process is, in the words of torchrun, and where it meets the others."""
    from medseg.memory import usable_cores

    loopback = "lo0" if sys.platform == "darwin" else "lo"
    return {
        "OMP_NUM_THREADS": str(max(1, usable_cores() // count)),
        **os.environ,
        STARTED: repr(started),
        MEETING: str(meeting / "store"),
        PARENT: str(os.getpid()),
        "TORCHELASTIC_RUN_ID": "medseg",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "GLOO_SOCKET_IFNAME": loopback,
        "NCCL_SOCKET_IFNAME": loopback,
    }


@contextmanager
def _signals_passed_on(children: Sequence[_Child]) -> Iterator[list[int]]:
    """The first Ctrl-C or SIGTERM asks the processes to end, a second Ctrl-C ends them."""
    signals: list[int] = []

    def receive(number: int, frame: object) -> None:
        del frame
        if signals and number == signal.SIGTERM:
            return
        _signal(children, signal.SIGINT if signals else signal.SIGTERM)
        signals.append(number)

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(children: Sequence[_Child]) -> None:
    """Until all have ended; where one fails the others, who would wait for it, are ended."""
    failed_at = 0.0
    while any(child.poll() is None for child in children):
        time.sleep(0.1)
        if all(child.returncode in (None, 0, INTERRUPTED) for child in children):
            continue
        if not failed_at:
            failed_at = time.monotonic()
            _signal(children, signal.SIGTERM)
        elif time.monotonic() > failed_at + _PATIENCE:
            _signal(children, signal.SIGKILL)


def _signal(children: Sequence[_Child], number: int) -> None:
    for child in children:
        if child.poll() is None:
            child.send_signal(number)
