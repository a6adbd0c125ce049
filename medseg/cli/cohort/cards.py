"""What the verbs of a cohort share: the card's argument, its guard, and how parts are shown."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.console import Console
from medseg.errors import BadConfig

if TYPE_CHECKING:
    from medseg.manifests import Cohort

Card = Annotated[Path, typer.Argument(metavar="CARD", help="The cohort's YAML file.")]
NewCard = Annotated[
    Path | None, typer.Option("--output", "-o", help="New card; else the table is rewritten.")
]


def guard_card(
    card: Path, overwrite: bool, *, inputs: Sequence[Path] = (), in_place: Sequence[str] = ()
) -> AbstractContextManager[object]:
    """Over a card and its table; with `in_place` over that table, which the user asked to edit."""
    from medseg.writers.guard import guard_outputs

    if card.suffix not in (".yaml", ".yml"):
        raise BadConfig("a card is a YAML file", path=card, expected="a name ending in .yaml")
    names = in_place or [card.name, card.with_suffix(".csv").name]
    return guard_outputs(
        card.parent,
        "cohort",
        claims=names,
        patterns=names,
        inputs=inputs,
        in_place=in_place,
        overwrite=overwrite,
    )


def guard_rows(
    card: Path, output: Path | None, *, root: Path | None, overwrite: bool
) -> AbstractContextManager[object]:
    """Over what `write_rows` is going to write; opened before any work."""
    from medseg.manifests.card import inputs_of, table_of

    if output is None:
        return guard_card(card, overwrite, in_place=[table_of(card).name])
    return guard_card(output, overwrite, inputs=inputs_of(card, root=root))


def write_rows(cohort: Cohort, card: Path, output: Path | None) -> Path:
    """Write a cohort that was made of a card: as a new card, else into that card's table.

    Returns:
        What was written.
    """
    from medseg.manifests import write_cohort
    from medseg.manifests.card import rewrite_table

    return rewrite_table(cohort, card) if output is None else write_cohort(cohort, output)


def say_parts(console: Console, cohort: Cohort) -> None:
    """One line a part: cases, patients, labelled ones."""
    from medseg.manifests.summary import parts_of

    for part in parts_of(cohort):
        console.say(
            f"  {part.name:<14} {part.cases:>6} cases  {part.patients:>6} patients"
            f"  {part.labelled:>6} labelled",
            part=part.name,
            cases=part.cases,
            patients=part.patients,
            labelled=part.labelled,
        )


def counted(count: int, noun: str) -> str:
    """A number with its noun: ``no rows``, ``1 row``, ``2 rows``."""
    return f"{count or 'no'} {noun}" + ("" if count == 1 else "s")
