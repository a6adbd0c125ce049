"""How suspicious each mask of a batch is: flags count as much as they are rare."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from medseg.batch.entry import Entry
from medseg.batch.task import State


def suspicion(entries: Sequence[Entry]) -> dict[str, float]:
    """For each case, the sum over its flags of how surprising each is in this batch, in bits."""
    done = [entry for entry in entries if entry.state is State.DONE]
    uses = Counter((flag.kind, flag.label) for entry in done for flag in set(entry.flags))
    total = len(done) + 2
    bits = {key: -math.log2((count + 1) / total) for key, count in uses.items()}
    return {
        entry.case: math.fsum(bits.get((flag.kind, flag.label), 0.0) for flag in entry.flags)
        for entry in entries
    }
