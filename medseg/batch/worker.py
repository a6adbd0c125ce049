"""A worker process: loads its work (a model, say) once and runs the cases it is sent."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection

from medseg.batch.ahead import ReadAhead
from medseg.batch.engine import Engine
from medseg.batch.task import Forecast, Outcome, Stage, Task
from medseg.batch.work import Work
from medseg.errors import MedsegError


@dataclass(frozen=True)
class Ready:
    """The work is loaded; `window_seconds` as its :class:`Engine` timed it."""

    window_seconds: float | None


@dataclass(frozen=True)
class Unable:
    """The work cannot be loaded: no case can be done."""

    error: MedsegError


Message = Ready | Unable | Stage | Forecast | Outcome


def serve(connection: Connection, work: Work, ahead: Task | None = None) -> None:
    """Run in the worker process: tasks come in, messages go out, until the parent is gone.

    Args:
        connection: to the parent.
        work: loaded here.
        ahead: a task that is going to come; its scan is read meanwhile.
    """
    # the parent decides what they mean
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _die_with_parent()
    sending = threading.Lock()

    def send(message: Message) -> None:
        try:
            with sending:
                connection.send(message)
        except OSError:
            os._exit(1)  # the parent is gone, and this batch with it

    reading = ReadAhead(ahead) if ahead else None
    try:
        engine = Engine(work, send, send)
    except MedsegError as error:
        send(Unable(error))
        return
    send(Ready(engine.window_seconds))
    while (task := _next(connection)) is not None:
        engine.submit(reading.instead(task) if reading else task)
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
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            os._exit(1)  # it died before the kernel was asked
