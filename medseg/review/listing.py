"""The list of cases as the page wants it: facts, verdicts, and what is not saved yet."""

from __future__ import annotations

from math import isnan
from typing import Any

from medseg.errors import BadOutput
from medseg.review.items import Item
from medseg.review.standing import Digests, Standing, Standings
from medseg.review.store import Judgement, Store, Verdict


class Listing:
    """The rows of one rater at one moment.

    Args:
        store: verdicts and edits.
        digests: checksums of the masks.
        rater: who looks.
        blind: whether flags, scores, confidence and others' verdicts are left out.
    """

    def __init__(self, store: Store, digests: Digests, *, rater: str, blind: bool) -> None:
        self._digests, self._rater, self._blind = digests, rater, blind
        self._standings = Standings(store)
        self._verdicts: dict[str, dict[str, Judgement]] = {}
        for one in store.judgements():
            self._verdicts.setdefault(one.case, {})[one.rater] = one

    def row(self, item: Item) -> dict[str, Any]:
        """One case."""
        verdicts, standing = self._verdicts.get(item.case, {}), self._standing(item)
        own = verdicts.get(self._rater)
        row = {
            "case": item.case,
            "verdict": own.verdict.value if own else "",
            "note": own.note if own else "",
            "corrected": standing.saved is not None,
            "unsaved": standing.is_unsaved,
            "truth": item.has_truth,
            "group": item.group,
            "volumes": {name: number_of(ml) for name, ml in item.volumes_ml.items()},
        }
        if self._blind:
            return row
        return row | {
            "flags": [[flag.kind, flag.label, flag.text] for flag in item.flags],
            "suspicion": round(item.suspicion, 2),
            "confidence": number_of(item.confidence),
            "dice": number_of(item.dice),
            "others": {
                rater: one.verdict.value
                for rater, one in verdicts.items()
                if rater != self._rater and one.verdict is not Verdict.NONE
            },
        }

    def _standing(self, item: Item) -> Standing:
        if not self._standings.knows(item.case, self._rater):
            return Standing()
        try:
            digest = self._digests.of(item.mask)
        except BadOutput:
            return Standing()
        return self._standings.of(item.case, self._rater, digest)


def number_of(value: float | None) -> float | None:
    """Four digits; ``None`` where there is none, since JSON knows no NaN."""
    return None if value is None or isnan(value) else float(f"{value:.4g}")
