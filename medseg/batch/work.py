"""The work that is done on every case of a batch: loaded once, then called by threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from medseg.batch.task import Forecast, Outcome, Stage, Task

#: Called with the stages and the memory forecast of a case.
Tell = Callable[[Stage | Forecast], object]


@dataclass(frozen=True)
class Loaded:
    """Work that is ready.

    Attributes:
        run: takes a case from scan to mask; called by several threads at once; never raises.
        window_seconds: what a trial of the network took, or ``None``.
    """

    run: Callable[[Task, Tell], Outcome]
    window_seconds: float | None = None


class Work(Protocol):
    """What a worker needs besides the cases; travels to it."""

    @property
    def threads(self) -> int:
        """How many cases one worker has under way side by side."""

    def load(self) -> Loaded:
        """Get ready, in the process where the cases will run.

        Raises:
            MedsegError: what it needs cannot be loaded.
        """
