"""Paired tests over patients, corrected for how many there are.

The sign-flip test asks how often a random choice of signs of the patients' summed differences
gives a sum as far from 0 as the one seen. Up to `EXACT_PATIENTS` patients all signs are counted:
the sums of either half of the patients are listed, and for each sum of the first half a search in
the sorted second half says how many together reach far enough (2^(n/2) steps instead of 2^n).
Beyond, signs are drawn, so many that correction for the whole family of tests leaves room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, nan

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from medseg.config import EvaluateConfig
from medseg.evaluation.intervals import patient_sums
from medseg.geometry.precision import COUNT_PRECISION

#: Up to this number of patients, every choice of signs is counted.
EXACT_PATIENTS = 30

#: Drawn signs make the smallest p, after correction, so many times smaller than the level.
ROOM = 20

#: Sums that are closer, relative to the sum of all sizes, are equal.
_ROUNDING = 1e-9

#: Signs drawn together.
_TOGETHER = 20_000


@dataclass(frozen=True)
class PairedTest:
    """What two tests and three effect sizes say of paired differences.

    Attributes:
        p_permutation: flips the signs of patients' summed differences (Fisher; two-sided).
        p_smallest: the smallest p that so many patients could have reached.
        p_wilcoxon: signed ranks of patients' mean differences, zeros after Pratt
            (doi:10.1080/01621459.1959.10501526).
        cohen_dz: mean over standard deviation of patients' mean differences.
        rank_biserial: signed-rank sums, from -1 to 1 (Kerby 2014, doi:10.2466/11.IT.3.1).
        positive: share of patients with a positive difference, ties counting half.
    """

    p_permutation: float
    p_smallest: float
    p_wilcoxon: float
    cohen_dz: float
    rank_biserial: float
    positive: float


def paired_test(
    differences: NDArray[np.float64],
    patients: Sequence[object],
    config: EvaluateConfig,
    *,
    family: int = 1,
    unit: float = 0.0,
) -> PairedTest:
    """Test whether paired differences are 0 on average; patients are the units.

    Args:
        differences: (N,) second minus first.
        patients: (N,) whose each is.
        config: level, seed and least number of drawn signs.
        family: tests that are corrected together.
        unit: differences that are closer to 0, or to each other, differ by rounding alone.

    Eight patients, all better: two of 2^8 choices of signs reach as far.

    >>> test = paired_test(np.arange(1.0, 9.0), range(8), EvaluateConfig())
    >>> test.p_permutation, test.p_smallest
    (0.0078125, 0.0078125)
    """
    sums, sizes = patient_sums(differences, patients)
    if len(sums) < 2:
        return PairedTest(nan, nan, nan, nan, nan, nan)
    draws = draws_for(len(sums), family, config)
    smallest = smallest_p(len(sums), draws)
    means = _tied(sums / sizes, unit)
    if not means.any():
        return PairedTest(1.0, smallest, 1.0, 0.0, 0.0, 0.5)
    spread = means.std(ddof=1) if np.ptp(means) > 0 else 0.0
    return PairedTest(
        p_permutation=sign_flip_p(means * sizes, draws, config.seed),
        p_smallest=smallest,
        p_wilcoxon=_wilcoxon(means),
        cohen_dz=float(means.mean() / spread) if spread > 0 else float(np.sign(means[0]) * np.inf),
        rank_biserial=_rank_biserial(means),
        positive=float((means > 0).mean() + (means == 0).mean() / 2),
    )


def _tied(means: NDArray[np.float64], unit: float) -> NDArray[np.float64]:
    """The same figures in whole units."""
    unit = max(unit, COUNT_PRECISION * float(np.abs(means).max(initial=0.0)))
    return np.round(means / unit) * unit if unit > 0 else means


def draws_for(patients: int, family: int, config: EvaluateConfig) -> int:
    """How many signs to draw; 0 where all are counted."""
    if patients <= EXACT_PATIENTS:
        return 0
    return max(config.resamples, ceil(ROOM * family / (1 - config.confidence)))


def smallest_p(patients: int, draws: int) -> float:
    """The smallest p that a sign-flip test can give.

    >>> smallest_p(5, 0), smallest_p(100, 9999)
    (0.0625, 0.0001)
    """
    return 2 / 2**patients if draws == 0 else 1 / (draws + 1)


def sign_flip_p(sums: NDArray[np.float64], draws: int, seed: int = 0) -> float:
    """Share of sign choices whose sum is as far from 0 as the one seen; two-sided.

    Args:
        sums: (N,) differences, one a patient.
        draws: signs to draw; 0 counts all 2^N.
        seed: of the draws.
    """
    reach = abs(float(sums.sum())) - _ROUNDING * float(np.abs(sums).sum())
    if draws == 0:
        return _exact(sums, reach)
    random = np.random.default_rng(seed)
    beyond, left = 0, draws
    while left > 0:
        part = min(left, _TOGETHER)
        signs = random.integers(0, 2, size=(part, len(sums)), dtype=np.int8) * 2.0 - 1.0
        beyond += int((np.abs(signs @ sums) >= reach).sum())
        left -= part
    return (beyond + 1) / (draws + 1)


def _exact(sums: NDArray[np.float64], reach: float) -> float:
    if reach <= 0:
        return 1.0
    half = len(sums) // 2
    first, second = _sign_sums(sums[:half]), np.sort(_sign_sums(sums[half:]))
    above = len(second) - np.searchsorted(second, reach - first, side="left")
    return float(2 * above.sum() / (len(first) * len(second)))  # as many below as above


def _sign_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2^N,) the sums under all choices of signs."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums - value, sums + value])
    return sums


def _wilcoxon(means: NDArray[np.float64]) -> float:
    """All signs of the ranks counted for few patients, ties or not; SciPy's law for many."""
    if len(means) > EXACT_PATIENTS:
        return float(stats.wilcoxon(means, zero_method="pratt").pvalue)
    return sign_flip_p(np.sign(means) * stats.rankdata(np.abs(means)), draws=0)


def _rank_biserial(means: NDArray[np.float64]) -> float:
    moved = means[means != 0]
    ranks = stats.rankdata(np.abs(moved))
    return float((ranks[moved > 0].sum() - ranks[moved < 0].sum()) / ranks.sum())


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """P values corrected by Holm's step-down method (Holm 1979); NaN stays and does not count.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    given = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(given.shape, nan)
    tested = np.flatnonzero(~np.isnan(given))
    order = tested[np.argsort(given[tested], kind="stable")]
    steps = given[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected
