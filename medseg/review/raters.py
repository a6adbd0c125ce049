"""How far raters agree: Cohen's kappa of their verdicts, Dice of the masks they ended with."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.labels import LabelTable
from medseg.metrics import dice_by_label
from medseg.review.store import Corrected, Judgement, Verdict


@dataclass(frozen=True)
class Agreement:
    """Two raters beside each other.

    Attributes:
        one, other: their names.
        cases: that both judged.
        same: with the same verdict.
        kappa: Cohen's; NaN where both always gave one and the same verdict, or share no case.
        dice: mean over cases of which at least one was edited, and over the labels that either
            mask holds; NaN without any.
        edited: number of those cases.
    """

    one: str
    other: str
    cases: int
    same: int
    kappa: float
    dice: float
    edited: int


#: (case, rater) to the labels that the rater ended with, or ``None``.
Final = Callable[[str, str], NDArray[Any] | None]


def agreements(
    judgements: Sequence[Judgement],
    corrected: dict[tuple[str, str], Corrected],
    final: Final,
    labels: LabelTable,
) -> list[Agreement]:
    """Every pair of raters who judged a case in common.

    Args:
        judgements: the last of every rater on every case.
        corrected: by case and rater.
        final: reads the mask a rater ended with: the corrected one, or the accepted prediction.
        labels: of the masks.
    """
    said: dict[str, dict[str, Verdict]] = {}
    for one in judgements:
        if one.verdict is not Verdict.NONE:
            said.setdefault(one.rater, {})[one.case] = one.verdict
    pairs = []
    for one_rater, other_rater in itertools.combinations(sorted(said), 2):
        mine, theirs = said[one_rater], said[other_rater]
        shared = sorted(set(mine) & set(theirs))
        if not shared:
            continue
        verdicts = [(mine[case].value, theirs[case].value) for case in shared]
        edited = [c for c in shared if {(c, one_rater), (c, other_rater)} & set(corrected)]
        overlaps = [_dice_of(case, one_rater, other_rater, final, labels) for case in edited]
        known = [overlap for overlap in overlaps if overlap is not None]
        pairs.append(
            Agreement(
                one_rater,
                other_rater,
                len(shared),
                sum(a == b for a, b in verdicts),
                cohens_kappa(verdicts),
                float(np.mean(known)) if known else nan,
                len(known),
            )
        )
    return pairs


def cohens_kappa(pairs: Sequence[tuple[str, str]]) -> float:
    """Agreement beyond chance (doi:10.1177/001316446002000104); NaN where chance is certain.

    >>> round(cohens_kappa([("a", "a")] * 20 + [("a", "b")] * 5 + [("b", "a")] * 10
    ...                    + [("b", "b")] * 15), 2)
    0.4
    """
    if not pairs:
        return nan
    total = len(pairs)
    observed = sum(one == other for one, other in pairs) / total
    ones, others = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    expected = sum(ones[value] * others[value] for value in ones) / total**2
    return nan if expected == 1 else (observed - expected) / (1 - expected)


def _dice_of(case: str, one: str, other: str, final: Final, labels: LabelTable) -> float | None:
    """Mean Dice over the labels that either mask holds; ``None`` where there is none.

    What one of the two left to be ignored is compared with nothing.
    """
    a, b = final(case, one), final(case, other)
    if a is None or b is None or a.shape != b.shape:
        return None
    if labels.ignore is not None:
        a = np.where(b == labels.ignore, labels.ignore, a)
    values = {label.name: label.value for label in labels.labels}
    scores = dice_by_label(a, b, values, ignore=labels.ignore)
    return float(np.mean(list(scores.values()))) if scores else None
