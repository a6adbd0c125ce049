"""The first scan of a batch is read while its worker still loads the model."""

from __future__ import annotations

import threading
from dataclasses import replace

from medseg.batch.task import Task
from medseg.volume import Volume


class ReadAhead:
    """Reads one scan in a thread of its own.

    Args:
        task: its case.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._result: Volume | Exception | None = None
        self._thread = threading.Thread(target=self._read, name="ahead", daemon=True)
        self._thread.start()

    def instead(self, task: Task) -> Task:
        """The task, with the scan that was read already where it is the same case."""
        same = (task.case, task.identity) == (self._task.case, self._task.identity)
        return replace(task, scan=self) if same else task

    def read(self) -> Volume:
        """The scan, once; raises what reading it raised."""
        self._thread.join()
        result, self._result = self._result, None
        if isinstance(result, Volume):
            return result
        if isinstance(result, Exception):
            raise result
        return self._task.scan.read()

    def _read(self) -> None:
        try:
            self._result = self._task.scan.read()
        except Exception as error:  # noqa: BLE001 - raised again where the case's own fate is decided
            self._result = error
