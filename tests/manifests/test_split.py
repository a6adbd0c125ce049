"""Splits keep patients whole, shares and strata alike, and repeat with the seed."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import BadCohort, BadConfig
from medseg.labels import LabelTable
from medseg.manifests import Case, Cohort, Split, split_cohort


def made(visits, *, site=lambda patient: "A", labelled=lambda patient: True):
    """A cohort with so many cases for each patient."""
    cases = tuple(
        Case(
            f"p{p}v{v}",
            f"p{p}",
            Split.TEST,
            None,
            {"T1": Path(f"p{p}v{v}.nii")},
            Path(f"l{p}v{v}.nii") if labelled(p) else None,
            covariates={"site": site(p), "age": str(30 + p)},
        )
        for p, count in enumerate(visits)
        for v in range(count)
    )
    return Cohort("made", "MR", ("T1",), LabelTable.from_card({"labels": {"x": 1}}), cases, Path())


@given(
    st.lists(st.integers(1, 5), min_size=10, max_size=60),
    st.integers(0, 5),
    st.sampled_from([0.0, 0.2, 0.5]),
)
def test_patients_stay_whole_and_parts_are_even(visits, seed, share):
    cohort = split_cohort(made(visits), test_share=share, folds=4, seed=seed)
    homes = {}
    for case in cohort.cases:
        homes.setdefault(case.patient, set()).add((case.split, case.fold))
    assert all(len(parts) == 1 for parts in homes.values())
    test = sum((Split.TEST, None) in parts for parts in homes.values())
    assert test == round(share * len(visits))
    sizes = Counter(case.fold for case in cohort.cases if case.split is Split.TRAIN)
    assert set(sizes) == {0, 1, 2, 3}
    assert max(sizes.values()) - min(sizes.values()) <= max(visits)


def test_same_seed_same_split_in_any_order():
    cohort = made([1, 2, 3] * 8)
    shuffled = cohort.with_cases(tuple(reversed(cohort.cases)))

    def where(divided):
        return {case.case: (case.split, case.fold) for case in divided.cases}

    assert where(split_cohort(cohort, seed=4)) == where(split_cohort(shuffled, seed=4))
    assert where(split_cohort(cohort, seed=4)) != where(split_cohort(cohort, seed=5))


def test_strata_are_spread_evenly():
    cohort = made([1] * 60, site=lambda p: "A" if p % 3 else "B")
    divided = split_cohort(cohort, test_share=0.2, folds=4, stratify=["site"], seed=1)
    parts = Counter((case.split, case.fold, case.covariates["site"]) for case in divided.cases)
    assert parts[Split.TEST, None, "A"] == 8 and parts[Split.TEST, None, "B"] == 4
    assert {parts[Split.TRAIN, k, "A"] for k in range(4)} == {8}
    assert {parts[Split.TRAIN, k, "B"] for k in range(4)} == {4}


def test_numbers_are_stratified_by_quartile():
    cohort = made([1] * 80)
    divided = split_cohort(cohort, test_share=0.25, folds=2, stratify=["age"], seed=0)
    ages = [int(c.covariates["age"]) for c in divided.cases if c.split is Split.TEST]
    assert np.histogram(ages, bins=4, range=(30, 110))[0].tolist() == [5, 5, 5, 5]


def test_the_test_part_can_be_kept():
    first = split_cohort(made([2] * 20), test_share=0.3, folds=2, seed=0)
    again = split_cohort(first, test_share=None, folds=3, seed=9)
    test = {case.case for case in first.cases if case.split is Split.TEST}
    assert {case.case for case in again.cases if case.split is Split.TEST} == test
    assert again.folds == (0, 1, 2)


def test_who_has_no_label_is_never_trained_on():
    divided = split_cohort(made([1] * 20, labelled=lambda p: p % 2 == 0), test_share=0.2, folds=2)
    train = [case for case in divided.cases if case.split is Split.TRAIN]
    assert len(train) == 8 and all(case.label for case in train)


def test_what_cannot_be_divided_is_refused():
    cohort = made([1] * 4)
    with pytest.raises(BadCohort, match="fewer train patients than folds; found 3, expected 5"):
        split_cohort(cohort, test_share=0.25, folds=5)
    with pytest.raises(BadCohort, match="no such covariate; found 'sex', expected age, site"):
        split_cohort(cohort, stratify=["sex"], folds=2)
    with pytest.raises(BadConfig, match=r"the test share is out of range; found 1.0"):
        split_cohort(cohort, test_share=1.0)
    with pytest.raises(BadConfig, match="too few folds"):
        split_cohort(cohort, folds=1)
    unlabelled = tuple(replace(case, label=None) for case in cohort.cases)
    with pytest.raises(BadCohort, match="fewer train patients"):
        split_cohort(cohort.with_cases(unlabelled), folds=2)
