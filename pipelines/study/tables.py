"""Tables and sentences that several answers of the study share."""

from __future__ import annotations

from collections.abc import Sequence

from study.cells import BY_NAME
from study.page import Table
from study.statistics import UNDECIDED, Findings, difference


def rows(f: Findings, cells: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """A row of scores for every cell that is finished."""
    return tuple(
        (
            BY_NAME[cell].title,
            str(f.outcome(cell, "dice")),
            str(f.outcome(cell, "hd95")),
            str(f.outcome(cell, "nsd")),
            _spread(f, cell),
            f.versus(cell),
        )
        for cell in cells
        if cell in f.cells
    )


def _spread(f: Findings, cell: str) -> str:
    count = len(f.finished(cell))
    return f"{f.seed_spread(cell):.3f} ({count})" if count > 1 else "1 seed"


def results(f: Findings, cells: Sequence[str]) -> Table:
    """Scores of the finished cells, with what differs beside the network."""
    notes = [f"{BY_NAME[c].title}: {BY_NAME[c].note}" for c in cells if BY_NAME[c].note]
    return Table(
        ("network", "Dice", "HD95, mm", "NSD", "spread between seeds", "Dice against U-Net"),
        rows(f, cells),
        "; ".join(notes) + "." if notes else "",
    )


def compared(f: Findings, one: str, other: str, what: str) -> list[str | Table]:
    """Two cells beside each other, in words."""
    row = f.between(one, other)
    if row is None:
        return []
    higher, p = float(row["difference"]) > 0, float(row["p_holm"])
    word = "no difference is shown" if not p <= 0.05 else "helps" if higher else "**hurts**"
    if p <= 0.05 and f.is_few(one, other) and not abs(float(row["difference"])) > f.noise:
        word = UNDECIDED
    chance = "p < 0.001" if p < 0.001 else f"p {p:.3f}"
    return [f"At equal steps of the FCN, {what}: Dice {difference(row)}, {chance}: {word}."]


def missing(what: str) -> str:
    """Stands where an answer would."""
    return f"Not measured in this run: it needs {what}."
