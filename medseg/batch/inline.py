"""How does a batch run in this very process?  Without time-outs: a thread cannot be stopped."""

from __future__ import annotations

import queue
from types import TracebackType
from typing import Self

from medseg.batch.engine import DEPTH, Engine
from medseg.batch.executors import Notice, Placement
from medseg.batch.road import Job
from medseg.batch.task import Outcome, Task

NO_TIMEOUTS = "everything runs in one process: a scan that hangs or crashes ends the batch"


def build(job: Job, placement: Placement) -> InlineExecutor:
    """The executor of ``EXECUTORS``; nothing of the placement concerns it."""
    return InlineExecutor(job)


class InlineExecutor:
    """Runs cases in threads of this process."""

    capacity = DEPTH

    def __init__(self, job: Job) -> None:
        self._job = job
        self.window_seconds: float | None = None
        self._events: queue.SimpleQueue[Outcome | Notice] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        self._engine = Engine(self._job, lambda case, stage: None, self._events.put)
        self.window_seconds = self._engine.window_seconds
        self._events.put(Notice(NO_TIMEOUTS))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._engine.close()

    def submit(self, task: Task) -> None:
        """Take a case."""
        self._engine.submit(task)

    def collect(self, seconds: float) -> list[Outcome | Notice]:
        """What happened; waits up to `seconds` where nothing has."""
        try:
            events = [self._events.get(timeout=seconds)]
        except queue.Empty:
            return []
        while not self._events.empty():
            events.append(self._events.get())
        return events
