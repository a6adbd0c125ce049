"""Rows of a table that agree: ids, patients in one split and fold, folds for all or for none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.errors import BadCohort
from medseg.manifests.cohort import Case, Split


def check_together(table: Path, numbers: Sequence[int], cases: Sequence[Case]) -> None:
    """What no row can show alone: ids, patients across splits and folds, folds for all or none.

    Gaps in the folds' numbers, as deleted rows leave them, are for `check_cohort` to name.

    Raises:
        BadCohort: the first contradiction, with its rows.
    """
    seen: dict[str, tuple[int, Case]] = {}
    first: dict[str, tuple[int, Case]] = {}
    for number, case in zip(numbers, cases, strict=True):
        key = case.case.lower()  # to some file systems a.nii.gz and A.nii.gz are one
        if key in seen:
            raise BadCohort(
                f"rows {seen[key][0]} and {number} have the same case id",
                path=table,
                found=repr(case.case),
                remedy="Give every row an id of its own.",
            )
        seen[key] = number, case
        earlier, other = first.setdefault(case.patient, (number, case))
        where, what = _standing(case)
        if _standing(other)[1] != what:
            raise BadCohort(
                f"one patient in two {where}s: rows {earlier} and {number}",
                path=table,
                found=f"{_standing(other)[1]} and {what}",
                expected=f"one {where} per patient",
                remedy="Scores would be too high; `medseg cohort split` keeps patients whole.",
            )
    _check_folds(table, numbers, cases)


def _standing(case: Case) -> tuple[str, str]:
    if case.split is Split.TRAIN and case.fold is not None:
        return "fold", f"fold {case.fold}"
    return "split", case.split.value


def _check_folds(table: Path, numbers: Sequence[int], cases: Sequence[Case]) -> None:
    train = [(n, case) for n, case in zip(numbers, cases, strict=True) if case.split is Split.TRAIN]
    folds = {case.fold for _, case in train if case.fold is not None}
    without = [number for number, case in train if case.fold is None]
    if folds and without:
        raise BadCohort(
            f"row {without[0]} is a train row without a fold, though others have one",
            path=table,
            found=f"{len(without)} such rows",
            expected="all or none",
        )
