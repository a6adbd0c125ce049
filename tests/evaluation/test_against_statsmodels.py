"""Intervals, corrections and slopes equal statsmodels' on fixed data."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.config import EvaluateConfig
from medseg.evaluation.agreement import bland_altman
from medseg.evaluation.intervals import mean_interval
from medseg.evaluation.paired_tests import holm

linear_model = pytest.importorskip(
    "statsmodels.regression.linear_model", reason="statsmodels is not installed"
)
from statsmodels.stats.multitest import multipletests  # noqa: E402
from statsmodels.stats.weightstats import DescrStatsW  # noqa: E402

MANY = EvaluateConfig(resamples=20_000, seed=1)


def test_holm_equals_multipletests():
    p_values = np.random.default_rng(5).beta(0.3, 3, size=25)
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], rel=1e-12)


def test_one_scan_a_patient_gives_the_t_interval():
    """Normal values: a studentised bootstrap is Student's interval up to its own noise."""
    values = np.random.default_rng(3).normal(0.5, 0.1, size=80)
    ours = mean_interval(values, range(80), MANY)
    low, high = DescrStatsW(values).tconfint_mean()
    assert [ours.low, ours.high] == pytest.approx([low, high], abs=0.06 * (high - low))


def test_several_scans_a_patient_give_the_cluster_robust_interval():
    """60 patients of 3 scans that resemble each other; as if independent it is half as wide."""
    random = np.random.default_rng(8)
    patients = np.repeat(np.arange(60), 3)
    values = random.normal(0, 1, size=60)[patients] + random.normal(0, 0.3, size=180)
    ours = mean_interval(values, patients, MANY)
    fit = linear_model.OLS(values, np.ones(180)).fit(
        cov_type="cluster", cov_kwds={"groups": patients}, use_t=True
    )
    low, high = fit.conf_int()[0]
    assert [ours.low, ours.high] == pytest.approx([low, high], abs=0.08 * (high - low))
    naive_low, naive_high = DescrStatsW(values).tconfint_mean()
    assert ours.high - ours.low > 1.5 * (naive_high - naive_low)


def test_the_slope_of_difference_on_mean_is_least_squares():
    random = np.random.default_rng(9)
    truth = random.uniform(5, 60, size=40)
    prediction = 1.1 * truth + random.normal(0, 1, size=40)
    told = bland_altman(truth, prediction, [str(k) for k in range(40)], MANY)
    design = np.column_stack([np.ones(40), (truth + prediction) / 2])
    fit = linear_model.OLS(prediction - truth, design).fit()
    assert told["slope"] == pytest.approx(fit.params[1], rel=1e-9)
    assert told["slope_p"] == pytest.approx(fit.pvalues[1], rel=1e-6)
