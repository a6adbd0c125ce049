"""New train rows keep patients together: whoever shares a scan with somebody is that person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from medseg.manifests import Case, Cohort, Split, joined_patients, survey_scans
from medseg.progress import Progress


@dataclass(frozen=True)
class Together:
    """Rows that may be learnt from beside a cohort.

    Attributes:
        rows: with the patients and folds that they belong to.
        left_out: case -> why not.
    """

    rows: tuple[Case, ...]
    left_out: Mapping[str, str]


def kept_together(
    cohort: Cohort, rows: Sequence[Case], *, progress: Progress | None = None
) -> Together:
    """The rows without whatever is, or may be, in the test part.

    Every scan of the cohort and of the rows is read and compared. Scans that are copies of one
    another belong to one patient, through any number of copies.

    Args:
        cohort: as it is without the rows.
        rows: train rows, new ones or rows of the cohort that get a mask.
        progress: called while scans are compared.
    """
    if not rows:
        return Together((), {})
    known = {case.case for case in cohort.cases}
    fresh = [row for row in rows if row.case not in known]
    whole = cohort.with_cases((*cohort.cases, *fresh))
    survey = survey_scans(whole, progress=progress)
    person = joined_patients(whole, survey.duplicates)
    tests = [case for case in cohort.cases if case.split is Split.TEST]
    tested = {person[case.patient] for case in tests}
    unread_tests = len({case.case for case in tests} & set(survey.unread))
    left_out: dict[str, str] = {}
    for row in rows:
        if person[row.patient] in tested:
            left_out[row.case] = "its patient, or its scan, is in the test part"
        elif row.case in survey.unread:
            left_out[row.case] = "its scan cannot be read, and may be one of the test part"
        elif unread_tests:
            left_out[row.case] = (
                f"its scan may be one of the {unread_tests} test scans that cannot be read;"
                " say with --root where they lie"
            )
    joined = [
        row if row.case in known else replace(row, patient=person[row.patient])
        for row in rows
        if row.case not in left_out
    ]
    return Together(tuple(_with_folds(cohort, joined)), left_out)


def _with_folds(cohort: Cohort, rows: Sequence[Case]) -> list[Case]:
    """A patient's fold; a new patient goes to the fold that has fewest patients."""
    if not cohort.folds:
        return list(rows)
    fold_of = {case.patient: case.fold for case in cohort.cases if case.fold is not None}
    count = Counter(dict.fromkeys(cohort.folds, 0))
    count.update(fold_of.values())
    divided = []
    for row in rows:
        if row.patient not in fold_of:
            fold = min(cohort.folds, key=lambda k: (count[k], k))
            fold_of[row.patient] = fold
            count[fold] += 1
        divided.append(row if row.fold is not None else replace(row, fold=fold_of[row.patient]))
    return divided
