"""Confidence beside Dice: ranks by hand, curves between the best and the worst order."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.evaluation import Scores, rank_errors
from medseg.evaluation.error_ranking import auroc, risk_coverage

CASES = st.lists(
    st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.9]), st.sampled_from([0.0, 0.6, 0.79, 0.8, 1.0])),
    min_size=1,
    max_size=12,
)


@given(CASES)
def test_auroc_is_the_share_of_pairs_in_the_right_order(cases):
    bad = [sure for sure, dice in cases if dice < 0.8]
    good = [sure for sure, dice in cases if dice >= 0.8]
    value = auroc([sure for sure, _ in cases], [dice < 0.8 for _, dice in cases])
    if not bad or not good:
        assert np.isnan(value)
    else:
        pairs = [(b < g) + 0.5 * (b == g) for b in bad for g in good]
        assert value == pytest.approx(np.mean(pairs))


@given(CASES, st.randoms())
def test_a_curve_does_not_depend_on_the_order_of_the_rows(cases, random):
    def curve(rows):
        return risk_coverage([sure for sure, _ in rows], [1 - dice for _, dice in rows])

    shuffled = random.sample(cases, len(cases))
    assert curve(shuffled) == pytest.approx(curve(cases))
    assert curve(cases)[-1] == pytest.approx(np.mean([1 - dice for _, dice in cases]))


@given(CASES)
def test_no_order_beats_that_of_the_dice(cases):
    dice = [value for _, value in cases]
    rows = [(f"c{k}", "p", "liver", "dice", value, "", "") for k, value in enumerate(dice)]
    row = ranking(rows, {f"c{k}": sure for k, (sure, _) in enumerate(cases)})
    assert row["aurc_best"] <= row["aurc"] + 1e-12
    assert row["aurc_best"] <= row["aurc_chance"] + 1e-12
    assert row["below"] == sum(value < 0.8 for value in dice)


def ranking(rows, confidence):
    columns = ["case", "patient", "label", "metric", "value", "unit", "note"]
    table = pd.DataFrame(rows, columns=columns)
    cases = pd.DataFrame({"case": table["case"].unique(), "status": "scored"})
    return rank_errors(Scores(table, cases), confidence).iloc[0]


def test_only_cases_with_both_count():
    rows = [(f"c{k}", "p", "liver", "dice", v, "", "") for k, v in enumerate([0.9, 0.5, np.nan])]
    row = ranking(rows, {"c0": 0.9, "c1": 0.2, "c2": 0.1, "other": 0.5})
    assert (row["n"], row["below"], row["auroc"]) == (2, 1, 1.0)
    assert row["aurc"] == pytest.approx((0.1 + 0.3) / 2)


def test_nothing_known_is_an_empty_table():
    columns = ["case", "patient", "label", "metric", "value", "unit", "note"]
    table = pd.DataFrame([("c0", "p", "liver", "dice", 0.9, "", "")], columns=columns)
    cases = pd.DataFrame({"case": ["c0"], "status": "scored"})
    assert rank_errors(Scores(table, cases), {}).empty
