"""Training and test parts of whole patients, alike in each covariate, the same for a seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from medseg.errors import BadCohort, BadConfig
from medseg.manifests.cohort import Case, Cohort, Split

#: A numeric covariate with more values than this is cut into its quartiles.
MOST_STRATA = 6


def split_cohort(
    cohort: Cohort,
    *,
    test_share: float | None = 0.2,
    folds: int = 5,
    stratify: Sequence[str] = (),
    seed: int = 0,
    joined: Mapping[str, str] | None = None,
) -> Cohort:
    """Divide again by patient: a test part, and folds of the rest.

    Cases without a label cannot be learnt from or scored; patients who have only such stay in
    ``test``.

    Args:
        cohort: its present splits matter only where `test_share` is ``None``.
        test_share: of the patients; ``None`` keeps the present test rows and only deals folds.
        folds: into which the train patients are dealt.
        stratify: covariates whose values each part should hold in equal shares.
        seed: the same seed gives the same parts.
        joined: patient -> the patient with whom to keep him together, as `joined_patients` gives
            for scans that two of them share.

    Raises:
        BadConfig: a share outside 0…1, or fewer than two folds.
        BadCohort: no such covariate, or too few patients.
    """
    if test_share is not None and not 0 <= test_share < 1:
        raise BadConfig(
            "the test share is out of range", found=test_share, expected="from 0 to below 1"
        )
    if folds < 2:
        raise BadConfig("too few folds", found=folds, expected="2 or more")
    rng = np.random.default_rng(seed)
    together = joined or {}
    patients = _patients(cohort, together)
    strata = _strata(cohort, patients, stratify)
    usable = [name for name, cases in patients.items() if any(c.label is not None for c in cases)]
    if test_share is None:
        test = {name for name in usable if patients[name][0].split is Split.TEST}
    else:
        test = _draw_test(usable, strata, test_share, rng)
    train = [name for name in usable if name not in test]
    if len(train) < folds:
        raise BadCohort(
            "fewer train patients than folds",
            path=cohort.path,
            found=len(train),
            expected=f"{folds} or more",
            remedy="Ask for fewer folds.",
        )
    fold_of = _deal(train, patients, strata, folds, rng)
    return cohort.with_cases(
        tuple(
            replace(case, split=Split.TRAIN, fold=fold_of[together.get(case.patient, case.patient)])
            if together.get(case.patient, case.patient) in fold_of
            else replace(case, split=Split.TEST, fold=None)
            for case in cohort.cases
        )
    )


def _patients(cohort: Cohort, joined: Mapping[str, str]) -> dict[str, list[Case]]:
    """Each patient's cases; sorted by id, so that the table's order does not matter."""
    patients: dict[str, list[Case]] = defaultdict(list)
    for case in cohort.cases:
        patients[joined.get(case.patient, case.patient)].append(case)
    return dict(sorted(patients.items()))


def _strata(
    cohort: Cohort, patients: dict[str, list[Case]], covariates: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Patient -> the values of the covariates in the patient's first case, numbers as quartiles."""
    columns = []
    for name in covariates:
        if not all(name in case.covariates for case in cohort.cases):
            known = sorted({column for case in cohort.cases for column in case.covariates})
            raise BadCohort(
                "no such covariate",
                path=cohort.path,
                found=repr(name),
                expected=", ".join(known) or "a column beside the usual ones",
            )
        columns.append(_binned([cases[0].covariates[name] for cases in patients.values()]))
    values = zip(*columns, strict=True) if columns else [()] * len(patients)
    return dict(zip(patients, (tuple(row) for row in values), strict=True))


def _binned(values: list[str]) -> list[str]:
    if len(set(values)) <= MOST_STRATA:
        return values
    try:
        numbers = np.array([float(value) if value else np.nan for value in values])
    except ValueError:
        return values
    cuts = np.nanquantile(numbers, [0.25, 0.5, 0.75])
    return ["" if np.isnan(n) else f"quartile {np.searchsorted(cuts, n) + 1}" for n in numbers]


def _by_stratum(
    names: Sequence[str], strata: dict[str, tuple[str, ...]], rng: np.random.Generator
) -> list[list[str]]:
    """The names of each stratum in random order; strata sorted."""
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in names:
        groups[strata[name]].append(name)
    return [[group[i] for i in rng.permutation(len(group))] for _, group in sorted(groups.items())]


def _draw_test(
    names: Sequence[str],
    strata: dict[str, tuple[str, ...]],
    share: float,
    rng: np.random.Generator,
) -> set[str]:
    """The share of every stratum; what rounding leaves over goes on to the next."""
    test: set[str] = set()
    seen = 0
    for group in _by_stratum(names, strata, rng):
        seen += len(group)
        test.update(group[: max(0, min(len(group), round(share * seen) - len(test)))])
    return test


def _deal(
    names: Sequence[str],
    patients: dict[str, list[Case]],
    strata: dict[str, tuple[str, ...]],
    folds: int,
    rng: np.random.Generator,
) -> dict[str, int]:
    """Stratum by stratum, patients with most cases first, each to the fold that has fewest."""
    fold_of: dict[str, int] = {}
    total = np.zeros(folds, int)
    for group in _by_stratum(names, strata, rng):
        here = np.zeros(folds, int)
        for name in sorted(group, key=lambda name: -len(patients[name])):
            fold = min(range(folds), key=lambda k: (here[k], total[k], k))
            fold_of[name] = fold
            here[fold] += len(patients[name])
            total[fold] += len(patients[name])
    return fold_of
