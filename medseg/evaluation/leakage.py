"""Did the model see what it is scored on?  By the scans' pixels, and by patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medseg.errors import BadCohort
from medseg.manifests import Cohort, Split


def patients_in_both(cohort: Cohort, evaluated: Cohort, run: Mapping[str, Any]) -> tuple[str, ...]:
    """Evaluated cases whose patient also has rows that trained a model of this cohort.

    Args:
        cohort: all rows.
        evaluated: the rows that are scored.
        run: the predictions' ``run.yaml``; its ``cohort`` names what the model learnt from.
    """
    if str(run.get("cohort", "")) != cohort.name:
        return ()
    scored = {case.case for case in evaluated.cases}
    trained = {case.patient for case in cohort.cases
               if case.split == Split.TRAIN and case.case not in scored}
    return tuple(case.case for case in evaluated.cases if case.patient in trained)


def refuse_leaks(leaked: Sequence[str], *, cohort: Cohort) -> None:
    """Refuse scores of scans that trained the model.

    Raises:
        BadCohort: there are such scans.
    """
    if not leaked:
        return
    shown = ", ".join(leaked[:5]) + (f" and {len(leaked) - 5} more" if len(leaked) > 5 else "")
    raise BadCohort(
        "the model was trained on scans, or patients, that it would be scored on",
        path=cohort.path, found=f"{len(leaked)} of the cases: {shown}",
        expected="cases that the model has never seen",
        remedy="Evaluate on a held-out split, or say --allow-leakage; the report will tell.",
    )
