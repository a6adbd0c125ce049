"""Scores by any covariate, with a warning where patients are few."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from medseg.errors import BadConfig
from medseg.evaluation.intervals import FEW_PATIENTS, LEAST_PATIENTS
from medseg.evaluation.scores import MEAN, Scores
from medseg.evaluation.summary import describe

#: A covariate of numbers with more different values than this is cut into three parts.
MOST_LEVELS = 6

#: Columns of ``cases.csv`` that are no covariates.
_OWN = {
    "case",
    "patient",
    "status",
    "reason",
    "warnings",
    "leaked",
    "prediction",
    "prediction_sha256",
    "truth_sha256",
}


def covariates_of(scores: Scores) -> tuple[str, ...]:
    """Columns that divide the cases: two groups or more, and not one group a case."""
    names = [str(name) for name in scores.cases.columns if name not in _OWN]
    return tuple(
        name
        for name in names
        if 1 < groups_of(scores.cases[name]).nunique() <= max(2, len(scores.cases) // 2)
    )


def subgroups(scores: Scores, covariates: Sequence[str] | None = None) -> pd.DataFrame:
    """Mean Dice over the labels, with its interval, in each group of each covariate.

    Args:
        scores: of an evaluation.
        covariates: columns of ``cases.csv``; ``None`` takes all that divide the cases.

    Raises:
        BadConfig: there is no such column.
    """
    names = covariates_of(scores) if covariates is None else tuple(covariates)
    rows = []
    for name in names:
        if name not in scores.cases.columns:
            known = [str(c) for c in scores.cases.columns if c not in _OWN]
            raise BadConfig("no such covariate", found=repr(name), expected=", ".join(known))
        group_of = dict(zip(scores.cases["case"], groups_of(scores.cases[name]), strict=True))
        wanted = (scores.table["metric"] == "dice") & (scores.table["label"] == MEAN)
        table = scores.table[wanted]
        table = table.assign(group=table["case"].map(group_of))
        for (group, label, metric), part in table.groupby(["group", "label", "metric"]):
            statistics = describe(part, str(metric), scores.config)
            rows.append(
                {
                    "covariate": name,
                    "group": str(group),
                    "label": str(label),
                    "metric": str(metric),
                    **statistics,
                    "undefined": int(part["value"].isna().sum()),
                    "note": few_note(int(statistics["patients"])),
                }
            )
    return pd.DataFrame(rows)


def groups_of(values: pd.Series[str]) -> pd.Series[str]:
    """The group of each case: the value itself, thirds of many numbers, or ``not given``."""
    texts = values.astype(str).str.strip()
    given = texts[texts != ""]
    numbers = pd.to_numeric(given, errors="coerce")
    if len(given) == 0 or numbers.isna().any() or numbers.nunique() <= MOST_LEVELS:
        return texts.where(texts != "", "not given")
    cuts = np.unique(np.quantile(numbers, [1 / 3, 2 / 3]))
    names = [
        f"up to {cuts[0]:.4g}",
        *(f"{low:.4g} to {high:.4g}" for low, high in itertools.pairwise(cuts)),
        f"above {cuts[-1]:.4g}",
    ]
    place = np.searchsorted(cuts, numbers.to_numpy(dtype=np.float64))
    part = pd.Series([f"{k + 1}: {names[k]}" for k in place], index=numbers.index)
    return part.reindex(texts.index).fillna("not given")


def few_note(patients: int) -> str:
    """What must be said of so few patients; empty for enough.

    >>> few_note(4), few_note(12)
    ('4 patients: too few for an interval', '')
    """
    if patients < LEAST_PATIENTS:
        return f"{patients} patients: too few for an interval" if patients else "no defined value"
    return f"fewer than {FEW_PATIENTS} patients" if patients < FEW_PATIENTS else ""
