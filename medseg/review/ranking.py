"""The order in which cases are looked at: worst first, with volumes unlike the others' flagged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medseg.batch.task import Flag
from medseg.review.items import Item

#: Volumes stand out where their logarithm is this many robust standard deviations from the
#: median of the cases, of at least so many.
OUTLYING_SD, ENOUGH_CASES = 3.5, 8


def ranked(items: Sequence[Item]) -> list[Item]:
    """Worst first: the lowest Dice where the truth is known, then by flags and confidence."""

    def key(item: Item) -> tuple[float, float, float, str]:
        dice = 2.0 if item.dice is None else item.dice
        confidence = 2.0 if item.confidence is None else item.confidence
        return dice, -item.suspicion, confidence, item.case

    return sorted(items, key=key)


def with_volume_flags(items: Sequence[Item]) -> list[Item]:
    """The cases with flags for volumes unlike the others' of the same review.

    A label's volume is compared by its logarithm; one that is 0 where most have some stands out,
    too. Labels that a case was flagged for already get no second flag.
    """
    names = dict.fromkeys(name for item in items for name in item.volumes_ml)
    flags: dict[str, list[Flag]] = {}
    for name in names:
        known = {item.case: item.volumes_ml[name] for item in items if name in item.volumes_ml}
        filled = {case: math.log(ml) for case, ml in known.items() if ml > 0}
        if len(filled) < max(ENOUGH_CASES, len(known) / 2):
            continue
        middle = float(np.median(list(filled.values())))
        apart = [abs(value - middle) for value in filled.values()]
        spread = max(1.4826 * float(np.median(apart)), 0.05)
        for case, ml in known.items():
            if ml <= 0 or abs(filled[case] - middle) > OUTLYING_SD * spread:
                text = f"{name} has {ml:.3g} ml, most cases about {math.exp(middle):.3g} ml"
                flags.setdefault(case, []).append(Flag("volume", name, text))
    return [_flagged(item, flags.get(item.case, []), len(items)) for item in items]


def _flagged(item: Item, flags: Sequence[Flag], count: int) -> Item:
    known = {(flag.kind, flag.label) for flag in item.flags}
    new = [flag for flag in flags if (flag.kind, flag.label) not in known]
    bits = math.log2((count + 2) / 2) if new else 0.0
    return replace(item, flags=(*item.flags, *new), suspicion=item.suspicion + bits * len(new))
