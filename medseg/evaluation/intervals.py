"""How sure is a mean?  Bootstrap intervals that resample patients, not scans.

Scans of one patient resemble each other, so patients are drawn, each with all of their scans,
and the mean is the ratio of two sums (Davison & Hinkley 1997, doi:10.1017/CBO9780511802843). The
studentised interval turns the bootstrap distribution of (mean* - mean) / se* around, with the
linearised standard error of a ratio; BCa corrects bias and skew by a jackknife over patients
(Efron 1987, doi:10.1080/01621459.1987.10478410). Both are clipped to the metric's range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf, isfinite, nan

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from medseg.config import EvaluateConfig


@dataclass(frozen=True)
class Interval:
    """A mean and how sure it is.

    Attributes:
        mean: over all cases.
        low: lower end, NaN where there are too few patients to tell.
        high: upper end.
        patients: how many were drawn from.
        cases: how many values.
    """

    mean: float
    low: float
    high: float
    patients: int
    cases: int


def mean_interval(
    values: ArrayLike,
    patients: Sequence[object],
    config: EvaluateConfig,
    *,
    bounds: tuple[float, float] = (-inf, inf),
) -> Interval:
    """Interval for the mean of values that come in patients.

    Args:
        values: (N,) finite figures.
        patients: (N,) whose each is.
        config: method, confidence, resamples and seed.
        bounds: least and greatest possible value.
    """
    figures = np.asarray(values, dtype=np.float64)
    sums, sizes = patient_sums(figures, patients)
    if len(figures) == 0:
        return Interval(nan, nan, nan, 0, 0)
    mean = float(figures.mean())
    if len(sums) < 2:
        return Interval(mean, nan, nan, len(sums), len(figures))
    if np.ptp(figures) == 0:
        return Interval(mean, mean, mean, len(sums), len(figures))
    ends = _METHODS[config.interval](sums, sizes, config)
    clipped = (float(np.clip(end, *bounds)) for end in ends)
    low, high = (end if isfinite(end) else nan for end in clipped)
    return Interval(mean, low, high, len(sums), len(figures))


def patient_sums(
    values: NDArray[np.float64], patients: Sequence[object]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The sum of each patient's values and how many there are, patients in order of name."""
    names, which = np.unique(
        np.asarray([str(p) for p in patients], dtype=object).astype(str), return_inverse=True
    )
    count = len(names)
    return (
        np.asarray(np.bincount(which, weights=values, minlength=count), dtype=np.float64),
        np.bincount(which, minlength=count).astype(np.float64),
    )


@lru_cache(maxsize=4)
def draws(patients: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """(resamples, patients) how often each patient is drawn."""
    random = np.random.default_rng(seed)
    picked = random.integers(0, patients, size=(resamples, patients))
    picked += np.arange(resamples)[:, None] * patients
    counts = np.bincount(picked.ravel(), minlength=resamples * patients)
    drawn = counts.reshape(resamples, patients).astype(np.float64)
    drawn.flags.writeable = False
    return drawn


def _studentised(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], config: EvaluateConfig
) -> tuple[float, float]:
    mean = sums.sum() / sizes.sum()
    error = _ratio_errors(np.ones((1, len(sums))), sums, sizes)[0]
    if error == 0:  # equal but for rounding
        return float(mean), float(mean)
    weights = draws(len(sums), config.resamples, config.seed)
    means = weights @ sums / (weights @ sizes)
    errors = _ratio_errors(weights, sums, sizes)
    apart = means - mean
    with np.errstate(divide="ignore", invalid="ignore"):
        turned = np.where(errors > 0, apart / errors, np.sign(apart) * inf)
    turned[np.isnan(turned)] = 0.0
    tail = (1 - config.confidence) / 2
    lower, upper = np.quantile(turned, [1 - tail, tail], method="inverted_cdf")
    return float(mean - lower * error), float(mean - upper * error)


def _ratio_errors(
    weights: NDArray[np.float64], sums: NDArray[np.float64], sizes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Linearised standard error of sum/size for each row of weights."""
    drawn = weights.sum(axis=1)
    total = weights @ sizes
    means = weights @ sums / total
    squares = (
        weights @ sums**2 - 2 * means * (weights @ (sums * sizes)) + means**2 * (weights @ sizes**2)
    )
    tiny = 1e-12 * (weights @ sums**2)  # cancellation, where one patient fills the sample
    squares = np.where(squares > tiny, squares, 0.0)
    return np.asarray(np.sqrt(squares * drawn / (drawn - 1)) / total)


def _bca(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], config: EvaluateConfig
) -> tuple[float, float]:
    mean = sums.sum() / sizes.sum()
    weights = draws(len(sums), config.resamples, config.seed)
    means = np.sort(weights @ sums / (weights @ sizes))
    below = (np.sum(means < mean) + np.sum(means <= mean)) / (2 * len(means))
    bias = stats.norm.ppf(below)
    left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
    skew = left_out.mean() - left_out
    spread = float((skew**2).sum()) ** 1.5
    acceleration = float((skew**3).sum()) / (6 * spread) if spread > 0 else 0.0
    tail = (1 - config.confidence) / 2
    ends = []
    for share in (tail, 1 - tail):
        z = bias + stats.norm.ppf(share)
        ends.append(float(stats.norm.cdf(bias + z / (1 - acceleration * z))))
    low, high = np.quantile(means, ends)
    return float(low), float(high)


_METHODS = {"studentised": _studentised, "bca": _bca}
