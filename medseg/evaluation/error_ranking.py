"""Measures how well confidence ranks errors: whether the least sure cases are the bad ones.

AUROC asks it of cases below a Dice; the risk-coverage curve of the Dice itself: the mean error of
the surest share of the cases, for every share (Geifman, Uziel & El-Yaniv 2019, arXiv:1805.08206).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from medseg.evaluation.scores import Scores

#: A case below this Dice is one to look at.
GOOD_DICE = 0.8


def auroc(confidence: ArrayLike, is_bad: ArrayLike) -> float:
    """Chance that a bad case has less confidence than a good one; ties count half.

    0.5 is no better than chance; NaN where all cases are good, or all bad.

    >>> auroc([0.2, 0.9, 0.8, 0.5], [True, False, False, False])
    1.0
    """
    bad = np.asarray(is_bad, dtype=bool)
    bads, goods = int(bad.sum()), int((~bad).sum())
    if not bads or not goods:
        return nan
    ranks = rankdata(-np.asarray(confidence, dtype=np.float64))  # the least sure rank highest
    return float((ranks[bad].sum() - bads * (bads + 1) / 2) / (bads * goods))


def risk_coverage(confidence: ArrayLike, risk: ArrayLike) -> NDArray[np.float64]:
    """(n,) mean risk of the surest case, the surest two … all n; equally sure ones share theirs.

    >>> risk_coverage([0.9, 0.2, 0.5], [0.1, 0.7, 0.1]).round(2).tolist()
    [0.1, 0.1, 0.3]
    """
    sure, risks = np.asarray(confidence, np.float64), np.asarray(risk, np.float64)
    _, group = np.unique(-sure, return_inverse=True)
    shared = np.bincount(group, weights=risks) / np.bincount(group)
    in_order = shared[np.sort(group)]
    return np.asarray(np.cumsum(in_order) / np.arange(1, len(in_order) + 1))


def rank_errors(scores: Scores, confidence: Mapping[str, float]) -> pd.DataFrame:
    """One row a label and one for the mean over labels: how well confidence ranks Dice.

    Columns: ``label``; ``n`` cases that have both; ``below``, those under a Dice of `GOOD_DICE`;
    ``auroc`` of these; ``aurc``, the area under the curve of 1 - Dice over coverage, less is
    better; ``aurc_best`` and ``aurc_chance``, what perfect and no ranking would give.

    Args:
        scores: of the cases.
        confidence: case to 0-1, of its least sure labels; cases without one are left out.
    """
    dice = scores.values("dice")
    rows = [
        {"label": str(label)} | _ranked(dice[label], confidence)
        for label in dice.columns
        if dice[label].notna().any()
    ]
    known = [row for row in rows if row["n"]]
    return pd.DataFrame(known, columns=["label", *_COLUMNS])


_COLUMNS = ("n", "below", "auroc", "aurc", "aurc_best", "aurc_chance")


def _ranked(dice: pd.Series[float], confidence: Mapping[str, float]) -> dict[str, float]:
    both = [(confidence[str(c)], d) for c, d in dice.dropna().items() if str(c) in confidence]
    if not both:
        return dict.fromkeys(_COLUMNS, 0)
    sure, scores = (np.array(values, dtype=np.float64) for values in zip(*both, strict=True))
    risk = 1 - scores
    return {
        "n": len(both),
        "below": int((scores < GOOD_DICE).sum()),
        "auroc": auroc(sure, scores < GOOD_DICE),
        "aurc": _area(sure, risk),
        "aurc_best": _area(scores, risk),
        "aurc_chance": float(risk.mean()),
    }


def _area(confidence: Sequence[float] | NDArray[np.float64], risk: NDArray[np.float64]) -> float:
    return float(risk_coverage(confidence, risk).mean())
