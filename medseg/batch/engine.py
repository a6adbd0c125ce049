"""Several cases share one process: a few threads, each taking a case from scan to mask.

For segmentation a lock on the device makes that a pipeline: while one case is in the network, the
next is being read and the last being written. No more cases than threads are ever in memory.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from medseg.batch.task import Outcome, Task
from medseg.batch.work import Tell, Work


class Engine:
    """Runs cases of one kind of work.

    Args:
        work: is loaded here, in the calling thread.
        tell: called from the threads as their cases proceed.
        finish: called from the threads with each outcome.

    Attributes:
        window_seconds: what the work's trial took; ``None`` where it has none.
    """

    def __init__(self, work: Work, tell: Tell, finish: Callable[[Outcome], None]) -> None:
        loaded = work.load()
        self.window_seconds = loaded.window_seconds
        self._run, self._tell, self._finish = loaded.run, tell, finish
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        # daemons: abandoning a batch does not wait for a case that takes an hour
        self._threads = [
            threading.Thread(target=self._serve, name=f"road-{n}", daemon=True)
            for n in range(work.threads)
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
            self._finish(self._run(task, self._tell))
