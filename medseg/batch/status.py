"""How a batch stands, seen from outside while it runs or afterwards."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from medseg.batch.ledger import Ledger, look
from medseg.batch.shards import Shard, outdated, shards_in
from medseg.batch.task import State
from medseg.writers.lock import holder

#: The rate is that of this many cases settled last.
_RECENT = 50


@dataclass(frozen=True)
class Standing:
    """A batch at one moment.

    Attributes:
        counts: cases by state.
        holder: the processes that are writing, or ``None``.
        cases_per_hour: lately; ``None`` where nobody is at work or too little is known.
        seconds_left: at that rate.
        under_way: case to attempt, of those with a worker now.
        troubles: case to reason, of those refused or failed.
        unfinished: shards that have not begun, that ended before their last case, or whose
            cases became others since.
    """

    counts: Mapping[str, int]
    holder: str | None
    cases_per_hour: float | None
    seconds_left: float | None
    under_way: Mapping[str, str]
    troubles: Mapping[str, str]
    unfinished: Sequence[str] = ()


def stand(folder: Path) -> Standing:
    """How the batch in a folder stands now, all of its shards together.

    Raises:
        BadOutput: no batch was run into the folder.
    """
    shards = shards_in(folder)
    if not shards:
        return _stand_at(folder)
    parts = {shard: _stand_at(shard.home(folder)) for shard in shards}
    rates = [part.cases_per_hour for part in parts.values() if part.cases_per_hour]
    counts = {
        state.value: sum(part.counts[state.value] for part in parts.values()) for state in State
    }
    rate = sum(rates) or None
    return Standing(
        counts=counts,
        holder=", ".join(part.holder for part in parts.values() if part.holder) or None,
        cases_per_hour=rate,
        seconds_left=_left(counts) / rate * 3600 if rate else None,
        under_way={case: text for part in parts.values() for case, text in part.under_way.items()},
        troubles={case: text for part in parts.values() for case, text in part.troubles.items()},
        unfinished=_unfinished(parts, outdated(folder)),
    )


def _unfinished(parts: Mapping[Shard, Standing], outdated: Collection[Shard]) -> list[str]:
    """One line a shard that needs to be run, or to be run again."""
    lines = []
    for total in sorted({shard.total for shard in parts}):
        for number in range(1, total + 1):
            part = parts.get(Shard(number, total))
            if part is None:
                lines.append(f"shard {number}/{total} has not begun")
            elif part.holder:
                continue
            elif _left(part.counts):
                lines.append(f"shard {number}/{total} ended with {_left(part.counts)} cases to do")
            elif Shard(number, total) in outdated:
                lines.append(f"shard {number}/{total} ran before its cases changed: run it again")
    return lines


def _stand_at(home: Path) -> Standing:
    with closing(look(home)) as ledger:
        return standing(ledger, home)


def _left(counts: Mapping[str, int]) -> int:
    return counts[State.PENDING] + counts[State.RUNNING]


def standing(ledger: Ledger, folder: Path) -> Standing:
    """How the batch in a folder stands now."""
    entries = ledger.entries()
    owner = holder(folder)
    counts = {state.value: count for state, count in ledger.count().items()}
    times = sorted(entry.finished for entry in entries if entry.finished)[-_RECENT:]
    rate = None
    if owner and len(times) > 1:
        rate = (len(times) - 1) / max(time.time() - times[0], 1e-3) * 3600
    left = _left(counts)
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
