"""How sure the networks were of masks that are scored: as their batch kept it, or a table says."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path

from medseg.batch.shards import entries_of
from medseg.errors import MedsegError
from medseg.evaluation.matching import match_names
from medseg.evaluation.pairing import RUN_FILE
from medseg.evaluation.task import Task
from medseg.tables import read_csv

#: Table beside masks of other tools, and its column.
TABLE, COLUMN = "cases.csv", "confidence"

#: Folders above a mask that may be its batch's: sub-x/ses-y/anat of BIDS.
_DEPTH = 4


def confidences_of(tasks: Sequence[Task]) -> dict[str, float]:
    """Case to 0-1, of its least sure labels; cases of which nothing is known are left out.

    Masks of ``medseg segment`` have it from the ledger beside them; others from the column
    ``confidence`` of a ``cases.csv`` beside them, with names matched as masks are.
    """
    places = {task.case.case: task.prediction for task in tasks if task.prediction is not None}
    found: dict[str, float] = {}
    homes = {case: _home(path) for case, path in places.items()}
    for folder in set(homes.values()):
        here = {case: path for case, path in places.items() if homes[case] == folder}
        found |= _of_batch(folder, here) or _of_table(folder, here)
    return found


def _home(mask: Path) -> Path:
    """The folder of the batch that a mask is of, also in the layout of BIDS; else its own."""
    above = list(mask.parents)[:_DEPTH]
    return next((place for place in above if (place / RUN_FILE).is_file()), mask.parent)


def _of_batch(folder: Path, masks: dict[str, Path]) -> dict[str, float]:
    """From the ledger, by the files that it wrote."""
    try:
        entries = entries_of(folder)
    except MedsegError:
        return {}
    sure = {
        (folder / entry.written.name).resolve(): entry.case_confidence
        for entry in entries
        if entry.written is not None and entry.case_confidence is not None
    }
    resolved = {case: path.resolve() for case, path in masks.items()}
    return {case: sure[path] for case, path in resolved.items() if path in sure}


def _of_table(folder: Path, masks: dict[str, Path]) -> dict[str, float]:
    """From ``cases.csv``; nothing where it has no such column."""
    try:
        columns, rows = read_csv(folder / TABLE)
    except MedsegError:
        return {}
    if not {"case", COLUMN} <= set(columns):
        return {}
    said = {row.cells["case"]: _share(row.cells[COLUMN]) for row in rows}
    matches = match_names(list(masks), said)
    known = {case: said[name] for case, name in matches.items()}
    return {case: share for case, share in known.items() if share is not None}


def _share(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None
