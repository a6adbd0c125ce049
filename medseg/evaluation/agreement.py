"""Bland & Altman's bias and limits of agreement of measured with true volumes.

Difference is prediction - truth. Limits are bias +- 1.96 SD; their intervals follow Bland &
Altman 1999 (doi:10.1177/096228029900800204) with the number of patients as sample size, which is
cautious where a patient has several scans. With fewer than `FEW_PATIENTS` there are no intervals.
"""

from __future__ import annotations

from math import nan, sqrt
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from medseg.config import EvaluateConfig
from medseg.evaluation.intervals import FEW_PATIENTS, mean_interval
from medseg.evaluation.scores import SCORED, Scores

#: Standard deviations within which 95 % of a normal distribution lie.
LIMITS_SD = 1.96


def volumes(scores: Scores, label: str) -> pd.DataFrame:
    """case, patient, truth_ml and prediction_ml of the cases that were scored."""
    rows = scores.table[
        (scores.table["label"] == label) & scores.table["case"].isin(scores.with_status(SCORED))
    ]
    wide = (
        rows[rows["metric"].isin(["truth_ml", "prediction_ml"])]
        .pivot(index=["case", "patient"], columns="metric", values="value")
        .dropna()
    )
    return wide.reset_index()


def agreement(scores: Scores) -> pd.DataFrame:
    """One row a label: bias, limits and their intervals, proportional bias."""
    rows = []
    for label in scores.labels:
        pairs = volumes(scores, label)
        truth = pairs["truth_ml"].to_numpy(dtype=np.float64)
        prediction = pairs["prediction_ml"].to_numpy(dtype=np.float64)
        row = bland_altman(truth, prediction, list(pairs["patient"]), scores.config)
        rows.append({"label": label, **row})
    return pd.DataFrame(rows)


def bland_altman(
    truth: NDArray[np.float64],
    prediction: NDArray[np.float64],
    patients: list[str],
    config: EvaluateConfig,
) -> dict[str, Any]:
    """Bias with a clustered interval, limits with theirs, slope of difference on mean."""
    differences = prediction - truth
    bias = mean_interval(differences, patients, config)
    row: dict[str, Any] = {
        "n": len(differences),
        "patients": bias.patients,
        "bias": bias.mean,
        "bias_low": bias.low,
        "bias_high": bias.high,
    }
    if bias.patients < 3:
        return row | dict.fromkeys(_REST, nan)
    sd = float(differences.std(ddof=1))
    z = LIMITS_SD
    error = sd * sqrt(1 / bias.patients + z**2 / (2 * (bias.patients - 1)))
    half = float(stats.t.ppf(0.5 + config.confidence / 2, bias.patients - 1)) * error
    half = nan if bias.patients < FEW_PATIENTS else half
    lower, upper = bias.mean - z * sd, bias.mean + z * sd
    means = (truth + prediction) / 2
    slope = stats.linregress(means, differences) if np.ptp(means) > 0 else None
    return row | {
        "sd": sd,
        "lower": lower,
        "lower_low": lower - half,
        "lower_high": lower + half,
        "upper": upper,
        "upper_low": upper - half,
        "upper_high": upper + half,
        "slope": float(slope.slope) if slope else nan,
        "slope_p": float(slope.pvalue) if slope else nan,
    }


_REST = (
    "sd",
    "lower",
    "lower_low",
    "lower_high",
    "upper",
    "upper_low",
    "upper_high",
    "slope",
    "slope_p",
)
