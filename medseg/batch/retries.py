"""Cases whose worker died are tried once more, alone; a second death is theirs."""

from __future__ import annotations

from collections import deque

from medseg.batch.task import Task


class Retries:
    """Cases that wait for their second and last try.

    >>> retries = Retries()
    >>> case = Task("a", "a.nii.gz", "", "", 0, scan=None)
    >>> retries.grant(case), bool(retries), retries.next() is case
    (True, True, True)
    >>> retries.grant(case), bool(retries)
    (False, False)
    """

    def __init__(self) -> None:
        self._waiting: deque[Task] = deque()
        self._granted: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def grant(self, task: Task) -> bool:
        """Let a case be tried once more; ``False`` where it was already."""
        if task.case in self._granted:
            return False
        self._granted.add(task.case)
        self._waiting.append(task)
        return True

    def next(self) -> Task:
        """The case to try now."""
        return self._waiting.popleft()
