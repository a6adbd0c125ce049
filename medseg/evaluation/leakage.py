"""Scans that trained the model that is scored on them: recognised by voxels, not by names.

That one patient's scans lie on both sides of a split is refused earlier, when a card is loaded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from medseg.errors import BadCohort
from medseg.evaluation.task import Outcome, Task
from medseg.manifests import Cohort
from medseg.manifests.likeness import Likeness, same_scans
from medseg.manifests.looks import read_looks, unpack_looks


def refuse_leaks(leaked: Sequence[str], *, cohort: Cohort) -> None:
    """Refuse scores of scans that trained the model.

    Raises:
        BadCohort: there are such scans.
    """
    if not leaked:
        return
    shown = ", ".join(leaked[:5]) + (f" and {len(leaked) - 5} more" if len(leaked) > 5 else "")
    raise BadCohort(
        "the model was trained on scans that it would be scored on",
        path=cohort.path,
        found=f"{len(leaked)} of the cases: {shown}",
        expected="scans that the model has never seen",
        remedy="Evaluate on a held-out split, or give --allow-leakage; the report will say so.",
    )


def copies_of_training(tasks: Sequence[Task], outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Cases whose scans look like training scans that were saved again.

    Found are the copies that `medseg.manifests.likeness` knows: another format, orientation,
    number type or scaling, cropped, resampled, or with changed voxels.

    Args:
        tasks: one a case.
        outcomes: of these tasks.
    """
    scans: dict[Path, list[tuple[str, Likeness]]] = defaultdict(list)
    for task, outcome in zip(tasks, outcomes, strict=True):
        if task.model_scans is not None and outcome.look:
            looks = unpack_looks(outcome.look)
            scans[task.model_scans] += [(task.case.case, look) for look in looks]
    copies: set[str] = set()
    for folder, named in scans.items():
        known = read_looks([folder])
        pairs = same_scans([*known, *(look for _, look in named)])
        copies |= {named[b - len(known)][0] for a, b in pairs if a < len(known) <= b}
    return tuple(task.case.case for task in tasks if task.case.case in copies)
