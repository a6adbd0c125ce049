"""How does a batch stand, seen from outside while it runs or afterwards?"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medseg.batch.ledger import Ledger
from medseg.batch.task import State
from medseg.writers.lock import holder

#: The rate is that of this many cases settled last.
_RECENT = 50


@dataclass(frozen=True)
class Standing:
    """A batch at one moment.

    Attributes:
        counts: cases by state.
        holder: the process that is writing, or ``None``.
        cases_per_hour: lately; ``None`` where nobody is at work or too little is known.
        seconds_left: at that rate.
        under_way: case to attempt, of those with a worker now.
        troubles: case to reason, of those refused or failed.
    """

    counts: Mapping[str, int]
    holder: str | None
    cases_per_hour: float | None
    seconds_left: float | None
    under_way: Mapping[str, str]
    troubles: Mapping[str, str]


def standing(ledger: Ledger, folder: Path) -> Standing:
    """How the batch in a folder stands now."""
    entries = ledger.entries()
    owner = holder(folder)
    counts = {state.value: count for state, count in ledger.count().items()}
    times = sorted(entry.finished for entry in entries if entry.finished)[-_RECENT:]
    rate = None
    if owner and len(times) > 1:
        rate = (len(times) - 1) / max(time.time() - times[0], 1e-3) * 3600
    left = counts[State.PENDING] + counts[State.RUNNING]
    if not owner:  # what a killed run left in the middle waits for the next one
        counts[State.PENDING.value], counts[State.RUNNING.value] = left, 0
    return Standing(
        counts=counts,
        holder=owner,
        cases_per_hour=rate,
        seconds_left=left / rate * 3600 if rate else None,
        under_way={
            entry.case: f"attempt {entry.attempts}"
            for entry in entries
            if owner and entry.state is State.RUNNING
        },
        troubles={
            entry.case: f"{entry.state}: {entry.reason}"
            for entry in entries
            if entry.state in (State.REFUSED, State.FAILED)
        },
    )
