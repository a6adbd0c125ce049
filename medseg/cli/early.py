"""A worker process that loads torch and wakes the GPU while scans are still being looked for."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medseg.batch.process import Started


@contextmanager
def started_early(device: str) -> Iterator[Started]:
    """A process that is going to be the first worker of a batch; ended with the block.

    Args:
        device: as ``--device`` names it.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_get_ready, args=(theirs, device), daemon=True)
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join()
        ours.close()


def _get_ready(connection: Connection, device: str) -> None:
    """Run in the process: load what every network needs, then serve the work that comes."""
    # the parent decides what they mean
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_wake, args=(device,), daemon=True).start()
    try:
        # unpickled on the way: the modules of the work load beside torch
        work, ahead = connection.recv()
    except (EOFError, OSError):
        os._exit(0)
    from medseg.batch.worker import serve

    serve(connection, work, ahead)


def _wake(device: str) -> None:
    """Load torch; on a GPU, its context and cuDNN, too."""
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        return
    place = device if ":" in device else "cuda:0"
    with suppress(RuntimeError):  # the model's loading says what is wrong
        image = torch.zeros((1, 8, 8, 8, 8), dtype=torch.float16, device=place)
        weight = torch.zeros((8, 8, 3, 3, 3), dtype=torch.float16, device=place)
        torch.nn.functional.conv3d(image, weight, padding=1).sum().item()
