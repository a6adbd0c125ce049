"""Worker processes of this machine run a batch, each case isolated from the others.

The cases that a worker had begun when it died are tried once more, each alone. A case that takes
longer than its size allows has failed at once; its worker is ended and replaced.
"""

from __future__ import annotations

import multiprocessing
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Self

from medseg.batch.executors import Event, Notice, Patience, Placement
from medseg.batch.retries import Retries
from medseg.batch.task import Forecast, Outcome, Stage, State, Task
from medseg.batch.work import Work
from medseg.batch.worker import Message, Ready, Unable, serve
from medseg.errors import MedsegError

#: How often time-outs are looked at.
_LOOK_S = 0.5
#: Workers that end before their model is loaded, one after another, before we give up.
_FALSE_STARTS = 3
#: Cases that a worker holds at once: those under way, and some that it need not wait for.
_HELD = 6


#: A worker process and the connection to it.
Started = tuple[BaseProcess, Connection]


@dataclass
class _Begun:
    """A case that a worker has."""

    task: Task
    stage: str = ""
    since: float = field(default_factory=time.monotonic)


@dataclass
class _Worker:
    """A worker process and what it has."""

    process: BaseProcess
    connection: Connection
    ready: bool = False
    alone: bool = False
    cases: dict[str, _Begun] = field(default_factory=dict)


def build(job: Work, placement: Placement) -> ProcessExecutor:
    """The executor of ``EXECUTORS``."""
    return ProcessExecutor(
        job, patience=placement.patience, early=placement.early, ahead=placement.ahead
    )


class ProcessExecutor:
    """Runs cases in worker processes, each with its own copy of the model.

    Args:
        job: what workers do.
        workers: how many.
        patience: a case beyond it has failed.
        forked: the first workers are copies of this process, which start at once with all that
            is imported; only where it has a single thread, and never for work that needs torch.
        early: becomes the first worker; it waits for its work.
        ahead: the first task that is going to be submitted: its scan is read while the first
            worker loads the model.
    """

    def __init__(
        self,
        job: Work,
        *,
        workers: int = 1,
        patience: Patience | None = None,
        forked: bool = False,
        early: Started | None = None,
        ahead: Task | None = None,
    ) -> None:
        self.capacity = workers * _HELD
        self.window_seconds: float | None = None
        self._forked = forked and sys.platform.startswith("linux")
        self._job, self._number = job, workers
        self._early, self._ahead = early, ahead
        self._patience = patience or Patience()
        self._workers: list[_Worker] = []
        self._waiting: deque[Task] = deque()
        self._retries = Retries()
        self._false_starts = 0

    def __enter__(self) -> Self:
        self._workers = [self._start() for _ in range(self._number)]
        try:
            while not all(worker.ready for worker in self._workers):
                self.collect(_LOOK_S)
        except BaseException:
            self._stop()
            raise
        self._forked = False  # by now this process may have threads
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def submit(self, task: Task) -> None:
        """Take a case."""
        self._waiting.append(task)
        self._hand_out()

    def collect(self, seconds: float) -> list[Event]:
        """What happened; waits up to `seconds` where nothing has.

        Raises:
            MedsegError: the model cannot be loaded, or workers cannot start.
        """
        events: list[Event] = []
        deadline = time.monotonic() + seconds
        while not events and (left := deadline - time.monotonic()) > 0:
            before = [worker.ready for worker in self._workers]
            self._listen(min(left, _LOOK_S), events)
            self._look_for_hangs(events)
            self._hand_out()
            if before != [worker.ready for worker in self._workers]:
                break
        return events

    def _start(self) -> _Worker:
        ahead, self._ahead = self._ahead, None  # once: it may be what ends its worker
        early, self._early = self._early, None
        if early is not None and early[0].is_alive():
            with suppress(OSError):
                early[1].send((self._job, ahead))
                return _Worker(*early)
        alone = threading.active_count() == 1
        context = multiprocessing.get_context("fork" if self._forked and alone else "spawn")
        ours, theirs = context.Pipe()
        process: BaseProcess = context.Process(  # type: ignore[attr-defined]
            target=serve, args=(theirs, self._job, ahead), daemon=True
        )
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _listen(self, seconds: float, events: list[Event]) -> None:
        by_connection = {worker.connection: worker for worker in self._workers}
        for connection in wait(list(by_connection), seconds):
            worker = by_connection[connection]  # type: ignore[index]
            try:
                while worker.connection.poll():
                    self._receive(worker, worker.connection.recv(), events)
            except (EOFError, OSError):
                self._mourn(worker, events)

    def _receive(self, worker: _Worker, message: Message, events: list[Event]) -> None:
        match message:
            case Ready(window_seconds):
                worker.ready, self._false_starts = True, 0
                self.window_seconds = window_seconds
            case Unable(error):
                raise error
            case Stage(case, stage):
                worker.cases[case].stage = stage
                worker.cases[case].since = time.monotonic()
            case Forecast():
                events.append(message)
            case Outcome():
                del worker.cases[message.case]
                worker.alone = False
                events.append(message)

    def _mourn(self, worker: _Worker, events: list[Event]) -> None:
        """A worker has died: find out which case it was."""
        worker.process.join(timeout=5)
        how = _ending(worker.process.exitcode)
        cases = [case for case in worker.cases.values() if case.stage]
        self._waiting.extendleft(c.task for c in worker.cases.values() if not c.stage)
        for case in cases:
            if not self._retries.grant(case.task):
                reason = f"the worker process {how} twice while this case was in stage {case.stage}"
                events.append(Outcome(case.task.case, State.FAILED, reason))
        if cases:
            names = ", ".join(f"{c.task.case} ({c.stage})" for c in cases)
            events.append(Notice(f"a worker process {how} during {names}; trying each once alone"))
        self._replace(worker, how)

    def _replace(self, worker: _Worker, how: str) -> None:
        if not worker.ready:
            self._false_starts += 1
        if self._false_starts >= _FALSE_STARTS:
            raise MedsegError(
                "worker processes end before the model is loaded",
                found=f"the last one {how}",
                remedy="Perhaps memory is short: `medseg doctor` says how much there is.",
            )
        worker.connection.close()
        self._workers[self._workers.index(worker)] = self._start()

    def _look_for_hangs(self, events: list[Event]) -> None:
        now = time.monotonic()
        for worker in list(self._workers):
            for case in worker.cases.values():
                limit = self._patience.seconds(case.stage, case.task.size_bytes)
                if now - case.since > limit:
                    self._end_hanging(worker, case, limit, events)
                    break

    def _end_hanging(
        self, worker: _Worker, culprit: _Begun, limit: float, events: list[Event]
    ) -> None:
        worker.process.kill()
        worker.process.join()
        case, stage = culprit.task.case, culprit.stage
        reason = f"took longer than {limit:.0f} s in stage {stage}; its worker was ended"
        events.append(Notice(f"{case}: {reason}"))
        events.append(Outcome(case, State.FAILED, reason))
        del worker.cases[case]
        self._waiting.extendleft(begun.task for begun in worker.cases.values())
        self._replace(worker, "was ended")

    def _hand_out(self) -> None:
        for worker in self._workers:
            while worker.ready and not worker.alone:
                if self._retries:
                    if worker.cases:
                        break  # first let it finish what it has
                    worker.alone = True
                    self._send(worker, self._retries.next())
                elif self._waiting and len(worker.cases) < _HELD:
                    self._send(worker, self._waiting.popleft())
                else:
                    break

    def _send(self, worker: _Worker, task: Task) -> None:
        worker.cases[task.case] = _Begun(task)
        try:
            worker.connection.send(task)
        except OSError:
            worker.ready = False  # it is dead; `_listen` finds out and hands the case to another

    def _stop(self) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()
        self._workers = []


def _ending(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended (exit code {code})"
    return (
        "was killed (signal 9, perhaps short of memory)"
        if code == -9
        else (f"crashed (signal {-code})")
    )
