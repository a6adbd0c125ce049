"""``review.csv``: what every rater said of every case."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.review.store import Corrected, Judgement, Store
from medseg.tables import csv_text
from medseg.writers.atomic import atomic_path

NAME = "review.csv"

COLUMNS = (
    "case",
    "rater",
    "verdict",
    "note",
    "time",
    "corrected",
    "voxels_changed",
    "mask_sha256",
    "corrected_sha256",
)


def write_review(folder: Path, store: Store) -> Path:
    """Write the last verdict of every rater on every case, a row each.

    Raises:
        BadOutput: the file cannot be written, or was edited by another program since.
    """
    path = folder / NAME
    with store.alone(), atomic_path(path) as temporary:
        rows = rows_of(store.judgements(), store.corrected())
        temporary.write_text(csv_text(COLUMNS, rows), encoding="utf-8", newline="")
    return path


def rows_of(
    judgements: Sequence[Judgement], corrected: dict[tuple[str, str], Corrected]
) -> list[dict[str, str]]:
    """The rows, by case and rater."""
    rows = []
    for one in sorted(judgements, key=lambda j: (j.case, j.rater)):
        saved = corrected.get((one.case, one.rater))
        rows.append(
            {
                "case": one.case,
                "rater": one.rater,
                "verdict": one.verdict.value,
                "note": " ".join(one.note.split()),
                "time": one.time,
                "corrected": saved.name if saved else "",
                "voxels_changed": str(saved.voxels_changed) if saved else "",
                "mask_sha256": one.mask_sha256,
                "corrected_sha256": saved.sha256 if saved else "",
            }
        )
    return rows
