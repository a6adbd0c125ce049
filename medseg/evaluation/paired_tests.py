"""Is a difference more than chance?  Paired tests over patients, corrected for their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from medseg.config import EvaluateConfig
from medseg.evaluation.intervals import patient_sums


@dataclass(frozen=True)
class PairedTest:
    """What two tests and three effect sizes say of paired differences.

    Attributes:
        p_permutation: flips the signs of patients' summed differences (Fisher; two-sided,
            exact where all flips can be tried).
        p_wilcoxon: signed ranks of patients' mean differences, zeros after Pratt
            (doi:10.1080/01621459.1959.10501526).
        cohen_dz: mean over standard deviation of patients' mean differences.
        rank_biserial: signed-rank sums, from -1 to 1 (Kerby 2014, doi:10.2466/11.IT.3.1).
        positive: share of patients with a positive difference, ties counting half.
    """

    p_permutation: float
    p_wilcoxon: float
    cohen_dz: float
    rank_biserial: float
    positive: float


def paired_test(
    differences: NDArray[np.float64], patients: Sequence[object], config: EvaluateConfig
) -> PairedTest:
    """Test whether paired differences are 0 on average; patients are the units."""
    sums, sizes = patient_sums(differences, patients)
    if len(sums) < 2:
        return PairedTest(nan, nan, nan, nan, nan)
    means = sums / sizes
    if not means.any():
        return PairedTest(1.0, 1.0, 0.0, 0.0, 0.5)
    spread = means.std(ddof=1)
    return PairedTest(
        p_permutation=_permutation(sums, config),
        p_wilcoxon=float(stats.wilcoxon(means, zero_method="pratt").pvalue),
        cohen_dz=float(means.mean() / spread) if spread > 0 else float(np.sign(means[0]) * np.inf),
        rank_biserial=_rank_biserial(means),
        positive=float((means > 0).mean() + (means == 0).mean() / 2),
    )


def _permutation(sums: NDArray[np.float64], config: EvaluateConfig) -> float:
    result = stats.permutation_test(
        (sums,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=config.resamples,
        rng=np.random.default_rng(config.seed),
    )
    return float(result.pvalue)


def _rank_biserial(means: NDArray[np.float64]) -> float:
    moved = means[means != 0]
    ranks = stats.rankdata(np.abs(moved))
    return float((ranks[moved > 0].sum() - ranks[moved < 0].sum()) / ranks.sum())


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """P values corrected by Holm's step-down method (Holm 1979); NaN stays and does not count."""
    given = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(given.shape, nan)
    tested = np.flatnonzero(~np.isnan(given))
    order = tested[np.argsort(given[tested], kind="stable")]
    steps = given[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected
