"""What does a worker process do?  Loads the model once and runs the cases it is sent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection

from medseg.batch.case import Job
from medseg.batch.engine import Engine
from medseg.batch.task import Forecast, Outcome, Stage, Task
from medseg.errors import MedsegError


@dataclass(frozen=True)
class Ready:
    """The model is loaded; `window_seconds` as its :class:`Engine` timed it."""

    window_seconds: float | None


@dataclass(frozen=True)
class Unable:
    """The model cannot be loaded: no case can be."""

    error: MedsegError


Message = Ready | Unable | Stage | Forecast | Outcome


def serve(connection: Connection, job: Job) -> None:
    """Run in the worker process: tasks come in, messages go out, until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    _die_with_parent()
    sending = threading.Lock()

    def send(message: Message) -> None:
        try:
            with sending:
                connection.send(message)
        except OSError:
            os._exit(1)  # the parent is gone, and this batch with it

    try:
        engine = Engine(job, send, send)
    except MedsegError as error:
        send(Unable(error))
        return
    send(Ready(engine.window_seconds))
    while (task := _next(connection)) is not None:
        engine.submit(task)
    # No waiting: what is under way belongs to a run that has ended.
    os._exit(0)


def _next(connection: Connection) -> Task | None:
    try:
        task: Task | None = connection.recv()
    except (EOFError, OSError):
        return None
    return task


def _die_with_parent() -> None:
    """On Linux, have the kernel end this process with its parent, however that dies.

    Elsewhere the closed connection does it, as soon as the main thread may run.
    """
    if sys.platform.startswith("linux"):
        parent_death_signal = 1
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)
