"""How do several cases share one device in one process?  A few threads, one lock, model once.

Each thread takes a case along its whole road; the lock on the device makes that a pipeline:
while one case is in the network, the next is being read and the last being written. No more
cases than threads are ever in memory.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from medseg.batch.case import Job, Tell, run_case
from medseg.batch.task import Outcome, Task

#: One reading, one in the network, one writing.
DEPTH = 3


class Engine:
    """Runs cases of one job; give it as many as :data:`DEPTH` to keep the device busy.

    Args:
        job: loads its model here, in the calling thread.
        tell: called from the threads as their cases go on.
        finish: called from the threads with each outcome.

    Attributes:
        window_seconds: what the job's trial took; ``None`` where it has none.
    """

    def __init__(
        self,
        job: Job,
        tell: Tell,
        finish: Callable[[Outcome], None],
    ) -> None:
        self._job, self._tell, self._finish = job, tell, finish
        self._segment = job.segmenter.load()
        self.window_seconds = job.trial.seconds(self._segment) if job.trial else None
        self._device = threading.Lock()
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        # daemons: abandoning a batch does not wait for a case that takes an hour
        self._threads = [
            threading.Thread(target=self._serve, name=f"road-{n}", daemon=True)
            for n in range(DEPTH)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, task: Task) -> None:
        """Queue a case."""
        self._tasks.put(task)

    def close(self) -> None:
        """Let the threads end once they are through; does not wait."""
        for _ in self._threads:
            self._tasks.put(None)

    def _serve(self) -> None:
        while (task := self._tasks.get()) is not None:
            self._finish(run_case(task, self._job, self._segment, self._device, self._tell))
