"""Intervals of means that resample patients, not scans.

Scans of one patient resemble each other, so patients are drawn, each with all of their scans,
and the mean is the ratio of two sums (Davison & Hinkley 1997, doi:10.1017/CBO9780511802843).

The bounded interval (after Gaffke; Learned-Miller & Thomas 2019, doi:10.48550/arXiv.1905.06208)
weighs patients at random, and with them one more at the worst possible value for the lower end,
at the best one for the upper: it allows for failures that a few patients have not shown. The
studentised interval turns the bootstrap distribution of (mean* - mean) / se* around, with the
linearised standard error of a ratio; BCa corrects bias and skew by a jackknife over patients
(Efron 1987, doi:10.1080/01621459.1987.10478410). These two are clipped to the metric's range.
``docs/metrics.md`` says how often each holds the true mean.
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
from medseg.geometry.precision import HEADER_PRECISION

#: Below this number of patients there is no interval at all.
LEAST_PATIENTS = 5

#: Below this number of patients, a bootstrap's interval does not hold; tables mark the row.
FEW_PATIENTS = 10

#: From this number of patients on, ``auto`` no longer allows for failures not seen.
MANY_PATIENTS = 40


@dataclass(frozen=True)
class Interval:
    """A mean and how sure it is.

    Attributes:
        mean: over all cases.
        low: lower end, NaN where there are too few patients to say.
        high: upper end.
        patients: how many were drawn from.
        cases: how many values.
        method: ``bounded``, ``studentised``, ``bca``, or empty where there is none.
    """

    mean: float
    low: float
    high: float
    patients: int
    cases: int
    method: str


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

    Ten good scans cannot exclude that one in four fails:

    >>> found = mean_interval([0.9] * 10, range(10), EvaluateConfig(), bounds=(0, 1))
    >>> found.method, 0.6 < found.low < 0.7, found.mean
    ('bounded', True, 0.9)
    >>> mean_interval([0.8, 0.9], ["a", "b"], EvaluateConfig(), bounds=(0, 1)).low
    nan
    """
    figures = np.asarray(values, dtype=np.float64)
    sums, sizes = patient_sums(figures, patients)
    if len(figures) == 0:
        return Interval(nan, nan, nan, 0, 0, "")
    mean = float(figures.mean())
    method = method_for(len(sums), config, bounds)
    if not method:
        return Interval(mean, nan, nan, len(sums), len(figures), "")
    if method != "bounded":
        low, high = _bootstrap(method, figures, sums, sizes, config)
        limited = isfinite(bounds[0]) and isfinite(bounds[1])
        endless = not (isfinite(low) and isfinite(high))
        if config.interval == "auto" and limited and (low == high or endless):
            method = "bounded"  # nearly all figures are equal: resampling them says nothing
        elif endless and config.interval == "auto":
            return Interval(mean, nan, nan, len(sums), len(figures), "")
    if method == "bounded":
        low, high = _bounded(sums, sizes, config, bounds)
    clipped = (float(np.clip(end, *bounds)) for end in (low, high))
    low, high = (end if isfinite(end) else nan for end in clipped)
    return Interval(mean, low, high, len(sums), len(figures), method)


def method_for(patients: int, config: EvaluateConfig, bounds: tuple[float, float]) -> str:
    """The method that holds for so many patients; empty where none does.

    >>> auto = EvaluateConfig()
    >>> [method_for(n, auto, (0, 1)) for n in (4, 5, 39, 40)]
    ['', 'bounded', 'bounded', 'studentised']
    >>> [method_for(n, auto, (0, inf)) for n in (9, 10)]
    ['', 'studentised']
    """
    limited = isfinite(bounds[0]) and isfinite(bounds[1])
    if config.interval == "auto" and limited and patients < MANY_PATIENTS:
        return "bounded" if patients >= LEAST_PATIENTS else ""
    if patients < FEW_PATIENTS:
        return ""
    return "studentised" if config.interval == "auto" else config.interval


def _bootstrap(
    method: str,
    figures: NDArray[np.float64],
    sums: NDArray[np.float64],
    sizes: NDArray[np.float64],
    config: EvaluateConfig,
) -> tuple[float, float]:
    """The ends of a bootstrap's interval, not clipped; the mean twice where all are equal."""
    if np.ptp(figures) <= HEADER_PRECISION**2 * np.abs(figures).max():
        return float(figures.mean()), float(figures.mean())
    return _METHODS[method](sums, sizes, config)


def _bounded(
    sums: NDArray[np.float64],
    sizes: NDArray[np.float64],
    config: EvaluateConfig,
    bounds: tuple[float, float],
) -> tuple[float, float]:
    """Random weights of the patients, and of one more of average size at either bound."""
    random = np.random.default_rng(config.seed)
    weights = random.standard_exponential((config.resamples, len(sums) + 1))
    unseen = weights[:, -1] * sizes.mean()
    totals = weights[:, :-1] @ sizes + unseen
    known = weights[:, :-1] @ sums
    tail = (1 - config.confidence) / 2
    low = np.quantile((known + unseen * bounds[0]) / totals, tail)
    high = np.quantile((known + unseen * bounds[1]) / totals, 1 - tail)
    return float(low), float(high)


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
