"""Summary statistics: one row for each label and metric, with its interval."""

from __future__ import annotations

from typing import Any

import pandas as pd

from medseg.config import EvaluateConfig
from medseg.evaluation.intervals import mean_interval
from medseg.evaluation.scores import MISSING, REFUSED, Scores
from medseg.metrics import METRICS

#: Columns of ``summary.csv``.
SUMMARY_COLUMNS = (
    "label",
    "metric",
    "n",
    "mean",
    "sd",
    "median",
    "q25",
    "q75",
    "ci_low",
    "ci_high",
    "missing",
    "undefined",
    "patients",
    "interval",
)


def summarise(scores: Scores) -> pd.DataFrame:
    """Summary statistics of every label and metric, and of the mean over labels.

    ``n`` counts the defined values that enter the mean, ``undefined`` those that do not;
    ``missing`` the cases without a usable prediction (which enter overlap metrics as 0 and
    are undefined for distances). ``interval`` says how the interval was made; it is empty where
    there are too few patients for one.
    """
    absent = set(scores.with_status(MISSING)) | set(scores.with_status(REFUSED))
    rows = []
    groups = scores.table.groupby(["label", "metric"], sort=False)
    for key, group in groups:
        label, metric = str(key[0]), str(key[1])
        rows.append(
            {
                "label": label,
                "metric": metric,
                **describe(group, metric, scores.config),
                "missing": int(group["case"].isin(absent).sum()),
                "undefined": int(group["value"].isna().sum()),
            }
        )
    return pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS))


def describe(group: pd.DataFrame, metric: str, config: EvaluateConfig) -> dict[str, Any]:
    """n, mean, spread, quartiles and interval of the defined values of some rows."""
    defined = group[group["value"].notna()]
    values = defined["value"]
    known = METRICS.get(metric)
    bounds = (known.low, known.high) if known else (float("-inf"), float("inf"))
    interval = mean_interval(values.to_numpy(), list(defined["patient"]), config, bounds=bounds)
    quartiles = values.quantile([0.25, 0.5, 0.75])
    return {
        "n": len(values),
        "mean": interval.mean,
        "sd": float(values.std(ddof=1)) if len(values) > 1 else float("nan"),
        "median": quartiles[0.5],
        "q25": quartiles[0.25],
        "q75": quartiles[0.75],
        "ci_low": interval.low,
        "ci_high": interval.high,
        "patients": interval.patients,
        "interval": interval.method,
    }
