"""Intervals, tests, agreement and subgroups: against SciPy, against paper, and by simulation."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from medseg.config import EvaluateConfig
from medseg.errors import BadConfig, BadOutput
from medseg.evaluation import Scores, compare, subgroups, summarise
from medseg.evaluation.agreement import bland_altman
from medseg.evaluation.comparing import favoured, power_line
from medseg.evaluation.intervals import draws, mean_interval, patient_sums
from medseg.evaluation.paired_tests import holm, paired_test, sign_flip_p
from medseg.evaluation.subgroups import covariates_of, groups_of

MANY = EvaluateConfig(resamples=20_000, seed=1)
STUDENTISED = EvaluateConfig(resamples=20_000, seed=1, interval="studentised")
BCA = EvaluateConfig(resamples=20_000, seed=1, interval="bca")


def losses(count, seed=0):
    """Dice-like: near one, with a tail to the left."""
    return np.random.default_rng(seed).beta(8, 1.2, size=count)


def test_bca_equals_scipy_s_where_each_patient_has_one_scan():
    """Both are bootstraps: ends agree to a few hundredths of the interval's width."""
    values = losses(40)
    ours = mean_interval(values, range(40), BCA)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(2)
    ).confidence_interval
    assert [ours.low, ours.high] == pytest.approx(list(theirs), abs=0.03 * (ours.high - ours.low))


def test_the_studentised_interval_of_normal_values_is_student_s():
    values = np.random.default_rng(3).normal(5, 2, size=60)
    ours = mean_interval(values, range(60), MANY)
    theirs = stats.t.interval(0.95, 59, values.mean(), stats.sem(values))
    assert [ours.low, ours.high] == pytest.approx(list(theirs), abs=0.06 * (ours.high - ours.low))


def test_an_interval_holds_the_mean_and_says_of_how_many():
    values, patients = losses(30), [f"p{k // 3}" for k in range(30)]
    for config in (MANY, BCA):
        found = mean_interval(values, patients, config)
        assert found.mean == pytest.approx(values.mean())
        assert found.low < found.mean < found.high
        assert (found.patients, found.cases) == (10, 30)


def test_copies_of_a_scan_make_nothing_surer():
    """The same 20 values four times over, each patient's together, are 20 patients, not 80."""
    values = losses(20)
    once = mean_interval(values, range(20), MANY)
    four = mean_interval(np.repeat(values, 4), np.repeat(np.arange(20), 4), MANY)
    assert (four.low, four.high) == pytest.approx((once.low, once.high), abs=1e-9)
    naive = mean_interval(np.repeat(values, 4), range(80), MANY)
    assert naive.high - naive.low < 0.6 * (once.high - once.low)


def test_intervals_stay_within_the_range_of_the_metric():
    values = np.r_[np.ones(11), 0.4]
    found = mean_interval(values, range(12), STUDENTISED, bounds=(0, 1))
    assert 0 <= found.low < found.high <= 1


@pytest.mark.parametrize(("values", "low"), [([], np.nan), ([0.7], np.nan), ([0.7] * 12, 0.7)])
def test_none_one_and_equal_values(values, low):
    found = mean_interval(np.array(values), range(len(values)), MANY)
    assert found.low == pytest.approx(low, nan_ok=True)
    assert found.mean == pytest.approx(np.mean(values) if values else np.nan, nan_ok=True)


@pytest.mark.parametrize("config", [MANY, STUDENTISED, BCA])
def test_two_patients_give_no_interval(config):
    found = mean_interval(np.array([0.5, 0.9]), ["a", "b"], config, bounds=(0, 1))
    assert np.isnan(found.low)
    assert (found.mean, found.method) == (0.7, "")


def test_five_volume_errors_give_no_interval():
    """Errors of 24 to 81 ml once had an interval that reached below zero."""
    found = mean_interval(np.array([24.0, 65, 74, 81, 76]), range(5), MANY)
    assert found.mean == 64
    assert np.isnan(found.low)


def test_a_few_good_dice_values_do_not_exclude_failures():
    """Eight of eight fine: a failure rate of 1 - 0.025^(1/8) = 37 % cannot be excluded."""
    found = mean_interval(np.ones(8), range(8), MANY, bounds=(0, 1))
    assert found.low == pytest.approx(0.025 ** (1 / 8), abs=0.01)
    assert found.high == 1


@pytest.mark.parametrize("patients", [40, 60])
@pytest.mark.parametrize("failures", [0, 1])
def test_values_that_are_nearly_all_equal_get_neither_a_point_nor_the_whole_range(
    patients, failures
):
    """A bootstrap that leaves the one failure out knows no spread."""
    values = np.r_[np.ones(patients - failures), np.zeros(failures)]
    found = mean_interval(values, range(patients), EvaluateConfig(), bounds=(0, 1))
    assert found.method == "bounded"
    # the share of failures that so few could hide, by Clopper and Pearson
    hidden = stats.beta.ppf(0.975, failures + 1, patients - failures)
    assert 1 - hidden - 0.05 < found.low < 1 - hidden + 0.05
    assert found.low < found.mean <= found.high


def test_volumes_that_are_nearly_all_equal_get_no_interval():
    """Samples without the one other patient know no spread: an end would be infinite."""
    found = mean_interval(np.r_[np.zeros(11), 5.0], range(12), EvaluateConfig())
    assert (found.method, found.mean) == ("", pytest.approx(5 / 12))
    assert np.isnan([found.low, found.high]).all()


def test_bounded_intervals_of_several_scans_weigh_patients():
    values, patients = losses(24), np.repeat(np.arange(8), 3)
    alone = mean_interval(values, range(24), MANY, bounds=(0, 1))
    together = mean_interval(values, patients, MANY, bounds=(0, 1))
    assert together.method == alone.method == "bounded"
    assert together.high - together.low > alone.high - alone.low


@pytest.mark.parametrize("patients", [5, 8, 10, 20, 39, 40])
def test_intervals_hold_where_one_in_ten_fails(patients):
    """300 trials of Dice with 10 % zeros: 95 % have a standard error of 1.3 %."""
    random = np.random.default_rng(patients)
    config = EvaluateConfig(resamples=500)
    held = 0
    for _ in range(300):
        values = random.beta(8, 1.2, size=patients) * (random.random(patients) >= 0.1)
        found = mean_interval(values, range(patients), config, bounds=(0, 1))
        held += found.low <= 0.9 * 8 / 9.2 <= found.high
    assert held / 300 >= 0.915


def test_the_seed_makes_an_interval_repeatable():
    values = losses(25)
    assert mean_interval(values, range(25), MANY) == mean_interval(values, range(25), MANY)
    other = EvaluateConfig(resamples=20_000, seed=2)
    assert mean_interval(values, range(25), MANY) != mean_interval(values, range(25), other)


def test_draws_pick_as_many_patients_as_there_are():
    drawn = draws(7, 500, 0)
    assert (drawn.sum(axis=1) == 7).all()
    assert drawn.mean() == pytest.approx(1)
    assert drawn.var() == pytest.approx(6 / 7, rel=0.1)  # binomial(7, 1/7)


def test_sums_are_by_patient():
    sums, sizes = patient_sums(np.array([1.0, 2, 4, 8]), ["b", "a", "b", "c"])
    assert sums.tolist() == [2, 5, 8]
    assert sizes.tolist() == [1, 2, 1]


@pytest.mark.parametrize("patients, cases", [(40, 1), (20, 2)])
def test_the_default_interval_covers_a_skewed_mean_often_enough(patients, cases):
    """400 trials: a share of 0.95 has a standard error of 0.011; 0.92 is three of them below."""
    random = np.random.default_rng(9)
    config = EvaluateConfig(resamples=400)
    names = np.repeat(np.arange(patients), cases)
    held = 0
    for _ in range(400):
        latent = random.normal(size=(patients, 1)) + random.normal(size=(patients, cases))
        values = stats.beta.ppf(stats.norm.cdf(latent / np.sqrt(2)), 8, 1.2).ravel()
        found = mean_interval(values, names, config, bounds=(0, 1))
        held += found.low <= 8 / 9.2 <= found.high
    assert held / 400 >= 0.92


def test_holm_equals_the_textbook():
    """Holm by hand: 0.01*4, 0.02*3, 0.03*2, 0.04*1, made monotone."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.01, np.nan, 0.9]) == pytest.approx([0.02, np.nan, 0.9], nan_ok=True)
    assert holm([0.6, 0.7]).tolist() == [1.0, 1.0]
    assert holm([]).size == 0


def test_the_permutation_test_is_exact_for_few_patients():
    """All 2^8 sign flips, counted one by one."""
    differences = np.array([0.3, 0.1, -0.2, 0.4, 0.25, 0.05, 0.15, -0.1])
    flips = np.array(list(itertools.product([-1, 1], repeat=8)))
    means = (flips * differences).mean(axis=1)
    expected = np.mean(np.abs(means) >= abs(differences.mean()) - 1e-12)
    assert paired_test(differences, range(8), MANY).p_permutation == pytest.approx(expected)


@pytest.mark.parametrize("patients", [2, 3, 7, 12, 16])
def test_counting_halves_equals_counting_all_signs(patients):
    random = np.random.default_rng(patients)
    for _ in range(5):
        sums = np.round(random.normal(0.3, 1, patients), 1)  # ties among them
        flips = np.array(list(itertools.product([-1, 1], repeat=patients)))
        expected = np.mean(np.abs(flips @ sums) >= abs(sums.sum()) - 1e-9)
        assert sign_flip_p(sums, 0) == pytest.approx(expected)


def test_drawn_signs_agree_with_counted_ones():
    sums = np.random.default_rng(1).normal(0.35, 1, 30)
    assert sign_flip_p(sums, 200_000, seed=2) == pytest.approx(sign_flip_p(sums, 0), abs=0.003)


def test_rounding_is_no_difference():
    """Two methods with equal masks on an oblique grid: distances differ in the eighth digit."""
    base = np.linspace(2, 8, 20)
    noise = base * (1 + 1e-7)
    found = compare(
        {"a": scores_of(losses(20), hd95=base), "b": scores_of(losses(20), hd95=noise)},
        metrics=["hd95"],
    )
    row = found.table.iloc[0]
    assert (row["difference"], row["p_permutation"], row["second_higher"]) == (0, 1, 0.5)


def test_many_labels_leave_room_for_a_difference():
    """45 labels, 40 patients, every one better: signs are drawn as often as Holm needs."""
    table = []
    for method in (0.0, 0.05):
        scores = scores_of(losses(40) - method)
        rows = [
            scores.table[scores.table["label"] == "liver"].assign(
                label=f"part {k}", value=lambda t, k=k: t["value"] + k * 1e-3
            )
            for k in range(45)
        ]
        table.append(Scores(pd.concat(rows), scores.cases, scores.config))
    found = compare({"b": table[1], "a": table[0]}, metrics=["dice"])
    assert found.family == 45
    assert found.table["p_holm"].max() < 0.05
    assert not found.hopeless


def test_too_few_patients_are_called_that():
    base = losses(4)
    found = compare({"old": scores_of(base - 0.1), "new": scores_of(base)}, metrics=["dice"])
    assert found.hopeless
    assert found.p_least == 2 / 2**4
    assert "Too few patients" in power_line(found)
    assert "At least 6 patients" in power_line(found)
    more = losses(6)
    found = compare({"old": scores_of(more - 0.1), "new": scores_of(more)}, metrics=["dice"])
    assert not found.hopeless
    assert found.table["p_holm"].max() < 0.05


def test_wilcoxon_and_effect_sizes_equal_scipy_and_paper():
    differences = np.random.default_rng(4).normal(0.3, 1, size=25)
    found = paired_test(differences, range(25), MANY)
    assert found.p_wilcoxon == pytest.approx(stats.wilcoxon(differences).pvalue)
    assert found.cohen_dz == pytest.approx(differences.mean() / differences.std(ddof=1))
    ranks = stats.rankdata(np.abs(differences))
    assert found.rank_biserial == pytest.approx(
        (ranks[differences > 0].sum() - ranks[differences < 0].sum()) / ranks.sum()
    )
    assert found.positive == pytest.approx((differences > 0).mean())
    tied = np.array([0.0, 1.0, 1.0, 2.0, -1.0, 3.0, 3.0])  # SciPy, too, counts all signs of these
    expected = stats.wilcoxon(tied, zero_method="pratt").pvalue
    assert paired_test(tied, range(7), MANY).p_wilcoxon == pytest.approx(expected)
    assert paired_test(np.full(7, 0.1), range(7), MANY).cohen_dz == np.inf


def test_scans_of_one_patient_are_not_tested_as_many():
    differences = np.full(12, 0.1) + np.arange(12) % 2 * 0.01
    many = paired_test(differences, range(12), MANY)
    few = paired_test(differences, np.repeat([0, 1, 2], 4), MANY)
    assert many.p_permutation < 0.001
    assert few.p_permutation == pytest.approx(2 / 8)  # three patients have 8 sign flips


def test_no_difference_has_p_1():
    found = paired_test(np.zeros(9), range(9), MANY)
    assert (found.p_permutation, found.p_wilcoxon, found.cohen_dz) == (1, 1, 0)
    assert np.isnan(paired_test(np.array([0.1]), [0], MANY).p_permutation)


def scores_of(dice, *, patients=None, covariates=None, hd95=None, truth="t"):
    """Scores of one label with given Dice values, one case each."""
    count = len(dice)
    cases = [f"c{k}" for k in range(count)]
    names = patients or [f"p{k}" for k in range(count)]
    rows = []
    for metric, values, unit in (("dice", dice, ""), ("hd95", hd95, "mm")):
        for label in ("liver", "mean"):
            rows += [
                (c, p, label, metric, float(v), unit, "")
                for c, p, v in zip(
                    cases, names, values if values is not None else (), strict=(values is not None)
                )
            ]
    table = pd.DataFrame(
        rows, columns=["case", "patient", "label", "metric", "value", "unit", "note"]
    )
    told = {
        "case": cases,
        "patient": names,
        "status": "scored",
        "truth_sha256": truth,
        **(covariates or {}),
    }
    return Scores(table, pd.DataFrame(told), EvaluateConfig(resamples=1000))


def test_a_better_method_is_found_and_named():
    base = losses(30)
    found = compare({"old": scores_of(base - 0.05), "new": scores_of(base)}, metrics=["dice"])
    row = found.table.iloc[0].to_dict()
    assert row["difference"] == pytest.approx(0.05)
    assert row["p_holm"] < 0.01
    assert favoured(row, 0.05) == "new"
    assert len(found.table) == 2  # liver and the mean over labels


def test_lower_distances_are_better():
    far, near = np.linspace(3, 9, 20), np.linspace(2, 8, 20)
    base = losses(20)
    found = compare(
        {"far": scores_of(base, hd95=far), "near": scores_of(base, hd95=near)}, metrics=["hd95"]
    )
    assert favoured(found.table.iloc[0].to_dict(), 0.05) == "near"


def test_methods_that_are_alike_are_not_told_apart():
    base = losses(30)
    noise = np.random.default_rng(5).normal(0, 0.01, 30)
    found = compare(
        {"one": scores_of(base), "other": scores_of(np.clip(base + noise, 0, 1))}, metrics=["dice"]
    )
    row = found.table.iloc[0].to_dict()
    assert row["ci_low"] < 0 < row["ci_high"]
    assert favoured(row, 0.05) == ""


def test_only_common_cases_are_compared_and_the_rest_is_named():
    long, short = scores_of(losses(12)), scores_of(losses(9))
    found = compare({"long": long, "short": short}, metrics=["dice"])
    assert len(found.cases) == 9
    assert found.left_out == {"long": ("c9", "c10", "c11"), "short": ()}


def test_undefined_pairs_are_left_out_and_counted():
    first, second = np.linspace(1, 4, 12), np.linspace(2, 5, 12)
    first[3] = np.nan
    found = compare(
        {"a": scores_of(losses(12), hd95=first), "b": scores_of(losses(12), hd95=second)},
        metrics=["hd95"],
    )
    row = found.table.iloc[0]
    assert (row["n"], row["undefined"]) == (11, 1)
    assert row["difference"] == pytest.approx(1.0)


def test_means_over_different_labels_are_not_compared():
    """The mean of liver and spleen against the mean of the liver alone says nothing."""
    one, other = scores_of(losses(12)), scores_of(losses(12, 1))
    spleen = one.table[one.table["label"] == "liver"].assign(label="spleen")
    more = replace(one, table=pd.concat([one.table, spleen], ignore_index=True))
    found = compare({"more": more, "other": other}, metrics=["dice", "dice"])
    assert list(found.table["label"]) == ["liver"]
    assert found.labels_left_out == {"more": ("spleen",), "other": ()}
    lone = replace(one, table=spleen.reset_index(drop=True))
    with pytest.raises(BadOutput, match="no label and metric in common"):
        compare({"lone": lone, "other": other})


def test_the_evaluation_that_knows_the_patients_groups_the_scans_of_all():
    patients = [f"p{k // 2}" for k in range(24)]
    known, unknown = scores_of(losses(24), patients=patients), scores_of(losses(24, 1))
    for pair in ({"a": known, "b": unknown}, {"b": unknown, "a": known}):
        assert set(compare(pair, metrics=["dice"]).table["patients"]) == {12}


def test_equal_differences_get_no_interval_of_no_width():
    base = losses(12)
    row = compare({"a": scores_of(base - 0.0625), "b": scores_of(base)}, metrics=["dice"]).table
    assert row["difference"].iloc[0] == pytest.approx(0.0625) and row["ci_low"].isna().all()


def test_comparing_what_cannot_be_compared_is_refused():
    one = scores_of(losses(10))
    with pytest.raises(BadConfig, match="two evaluations"):
        compare({"one": one})
    with pytest.raises(BadConfig, match="no such metric"):
        compare({"one": one, "two": one}, metrics=["dise"])
    with pytest.raises(BadOutput, match="another truth"):
        compare({"one": one, "two": scores_of(losses(10), truth="u")})
    wide = scores_of(losses(10))
    wide.table.loc[:, "unit"] = "2 mm"
    with pytest.raises(BadOutput, match="two ways"):
        compare({"one": one, "two": wide}, metrics=["dice"])


def test_three_methods_make_three_pairs_and_one_family():
    base = losses(20)
    noise = np.random.default_rng(6).normal(0, 0.02, (2, 20))
    found = compare(
        {"a": scores_of(base), "b": scores_of(base + noise[0]), "c": scores_of(base + noise[1])},
        metrics=["dice"],
    )
    assert list(zip(found.table["first"], found.table["second"], strict=True))[::2] == [
        ("a", "b"),
        ("a", "c"),
        ("b", "c"),
    ]
    smallest = found.table["p_permutation"].idxmin()
    assert found.family == 3  # the mean of one label is no other test
    assert found.table["p_holm"][smallest] == pytest.approx(
        min(1, 3 * found.table["p_permutation"][smallest])
    )


def test_summary_equals_pandas():
    dice = losses(21)
    dice[4] = np.nan
    row = summarise(scores_of(dice)).set_index(["label", "metric"]).loc[("liver", "dice")]
    kept = pd.Series(dice).dropna()
    assert (row["n"], row["undefined"], row["missing"]) == (20, 1, 0)
    assert [row["mean"], row["sd"], row["median"], row["q25"], row["q75"]] == pytest.approx(
        [kept.mean(), kept.std(), kept.median(), kept.quantile(0.25), kept.quantile(0.75)]
    )
    assert row["ci_low"] < row["mean"] < row["ci_high"]


def test_subgroups_have_means_intervals_and_small_n_warnings():
    dice = losses(30)
    sex = ["F"] * 25 + ["M"] * 4 + [""]
    table = subgroups(scores_of(dice, covariates={"sex": sex}), ["sex"]).set_index("group")
    assert table.loc["F", "mean"] == pytest.approx(dice[:25].mean())
    assert table.loc["F", "note"] == ""
    assert table.loc["M", "note"] == "4 patients: too few for an interval"
    assert table.loc["not given", "patients"] == 1
    assert np.isnan(table.loc["not given", "ci_low"])


def test_numbers_are_cut_into_thirds_and_few_levels_kept():
    ages = pd.Series([str(age) for age in range(30, 60)])
    parts = groups_of(ages)
    assert parts.nunique() == 3
    assert parts.value_counts().tolist() == [10, 10, 10]
    assert groups_of(pd.Series(["1.5", "3", "1.5", "3"])).tolist() == ["1.5", "3", "1.5", "3"]


def test_what_does_not_divide_the_cases_is_no_subgroup():
    told = {"site": ["A", "B"] * 10, "constant": ["x"] * 20, "name": [f"n{k}" for k in range(20)]}
    assert covariates_of(scores_of(losses(20), covariates=told)) == ("site",)
    with pytest.raises(BadConfig, match="scanner"):
        subgroups(scores_of(losses(20), covariates=told), ["scanner"])


def test_bland_altman_equals_paper():
    truth = np.array([10.0, 12, 15, 20, 24, 30])
    prediction = truth + np.array([1.0, -1, 2, 0, 3, 1])
    told = bland_altman(truth, prediction, list("abcdef"), MANY)
    sd = np.std([1, -1, 2, 0, 3, 1], ddof=1)
    assert told["bias"] == 1.0
    assert (told["lower"], told["upper"]) == pytest.approx((1 - 1.96 * sd, 1 + 1.96 * sd))
    assert np.isnan(told["upper_high"])  # six patients
    again = bland_altman(np.tile(truth, 2), np.tile(prediction, 2), list("abcdefghijkl"), MANY)
    sd = np.std(np.tile(prediction - truth, 2), ddof=1)
    half = stats.t.ppf(0.975, 11) * sd * np.sqrt(1 / 12 + 1.96**2 / 22)
    assert again["upper_high"] - again["upper"] == pytest.approx(half)
    fit = stats.linregress((truth + prediction) / 2, prediction - truth)
    assert (told["slope"], told["slope_p"]) == pytest.approx((fit.slope, fit.pvalue))


def test_bland_altman_of_two_patients_has_a_bias_but_no_limits():
    told = bland_altman(np.array([1.0, 2]), np.array([2.0, 2]), ["a", "b"], MANY)
    assert told["bias"] == 0.5
    assert np.isnan(told["upper"])


def test_with_a_reference_every_other_method_is_compared_with_it_alone():
    base = np.linspace(0.7, 0.9, 20)
    methods = {name: scores_of(base - 0.01 * place) for place, name in enumerate("abcd")}
    found = compare(methods, metrics=["dice"], reference="c")
    assert set(found.table["first"]) == {"c"}
    assert list(dict.fromkeys(found.table["second"])) == ["a", "b", "d"]
    assert found.family < compare(methods, metrics=["dice"]).family
    with pytest.raises(BadConfig, match="no such method"):
        compare(methods, reference="e")
