"""Runs a batch in this process, without time-outs: a thread cannot be stopped."""

from __future__ import annotations

import queue
from typing import Self

from medseg.batch.engine import Engine
from medseg.batch.executors import Event, Notice, Placement
from medseg.batch.task import Forecast, Stage, Task
from medseg.batch.work import Work

NO_TIMEOUTS = "everything runs in one process: a scan that hangs or crashes ends the batch"


def build(job: Work, placement: Placement) -> InlineExecutor:
    """The executor of ``EXECUTORS``; nothing of the placement concerns it."""
    return InlineExecutor(job)


class InlineExecutor:
    """Runs cases in threads of this process."""

    def __init__(self, job: Work) -> None:
        self.capacity = job.threads
        self._job = job
        self.window_seconds: float | None = None
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        self._engine = Engine(self._job, self._receive, self._events.put)
        self.window_seconds = self._engine.window_seconds
        self._events.put(Notice(NO_TIMEOUTS))
        return self

    def __exit__(self, *error: object) -> None:
        self._engine.close()

    def _receive(self, event: Stage | Forecast) -> None:
        if isinstance(event, Forecast):
            self._events.put(event)

    def submit(self, task: Task) -> None:
        """Take a case."""
        self._engine.submit(task)

    def collect(self, seconds: float) -> list[Event]:
        """What happened; waits up to `seconds` where nothing has."""
        try:
            events = [self._events.get(timeout=seconds)]
        except queue.Empty:
            return []
        while not self._events.empty():
            events.append(self._events.get())
        return events
