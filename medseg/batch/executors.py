"""What every executor offers, whether cases run in this process, in workers or on a cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from medseg.batch.task import Forecast, Outcome, Task
from medseg.config import SegmentConfig


@dataclass(frozen=True)
class Notice:
    """Something the user should know while the batch runs."""

    text: str


#: What an executor gives back.
Event = Outcome | Forecast | Notice


class Executor(Protocol):
    """Takes cases and gives back outcomes; a context manager.

    A case that was submitted comes back exactly once, as an outcome, unless the executor is
    left before that.
    """

    @property
    def capacity(self) -> int:
        """How many cases to have under way at once."""

    @property
    def window_seconds(self) -> float | None:
        """What the job's trial took, once entered; ``None`` where nobody timed it."""

    def __enter__(self) -> Self:
        """Get ready; a model that cannot be loaded is refused here."""

    def __exit__(self, *error: object) -> None:
        """Stop at once, with whatever is still under way."""

    def submit(self, task: Task) -> None:
        """Take a case."""

    def collect(self, seconds: float) -> list[Event]:
        """What happened; waits up to `seconds` where nothing has."""


@dataclass(frozen=True)
class Patience:
    """How long a case may take before its worker is thought to hang, by size of its files.

    Attributes:
        read_s, read_s_per_mb: for reading and for writing.
        segment_s, segment_s_per_mb: for the network and all around it.
    """

    read_s: float = 60.0
    read_s_per_mb: float = 2.0
    segment_s: float = SegmentConfig().timeout
    segment_s_per_mb: float = 60.0

    def seconds(self, stage: str, size_bytes: int) -> float:
        """The limit for a stage; waiting for the device has none."""
        megabytes = size_bytes / 1e6
        if stage == "segment":
            return self.segment_s + self.segment_s_per_mb * megabytes
        if stage in ("read", "write"):
            return self.read_s + self.read_s_per_mb * megabytes
        return float("inf")


@dataclass(frozen=True)
class Placement:
    """Where cases run and how long each may take; every executor takes what concerns it.

    Attributes:
        patience: time-outs.
        cluster: address of a Dask scheduler, or a Dask cluster object.
        early: a worker process that was started before, and the connection to it.
        ahead: the first task that is going to be submitted.
    """

    patience: Patience = field(default_factory=Patience)
    cluster: Any = None
    early: Any = None
    ahead: Task | None = None
