"""``medseg cohort next``: which cases to annotate next."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.cohort.cards import Card
from medseg.cli.console import open_console
from medseg.cli.options import Json, Overwrite, Quiet, Root
from medseg.cli.outputs import guard_file


def next_(
    card: Card,
    *,
    masks: Annotated[
        Path, typer.Option("--from", metavar="MASKS", help="The --output of medseg segment.")
    ],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many cases.")] = 20,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="CSV", help="Write them as a table.")
    ] = None,
    root: Root = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Propose which cases to annotate next, with the reason for each.

    Chooses cases that the network is unsure of, unlike one another and unlike those already
    labelled: one scan of every patient first, never a test row or a test patient.

    \b
    Example:
        medseg cohort next liver.yaml --from masks -n 20 --output next.csv
    """
    from medseg.batch.tables import CASES
    from medseg.config.kinds import Kind, refuse_other_kinds
    from medseg.manifests import load_cohort
    from medseg.manifests.card import inputs_of
    from medseg.review.choosing import choose_next
    from medseg.tables import csv_text
    from medseg.writers.atomic import atomic_path

    cohort = load_cohort(card, root=root)
    refuse_other_kinds(masks, Kind.MASKS, also=[Kind.FOLDER])
    columns = ("case", "uncertainty", "distance", "reason")
    guard: AbstractContextManager[object] = nullcontext()
    if output is not None:
        inputs = [*inputs_of(card, root=root), masks / CASES]
        guard = guard_file(output, "cohort", inputs=inputs, overwrite=overwrite)
    with guard, open_console(quiet=quiet, json=json) as console:
        choices = choose_next(cohort, masks, count=count)
        for rank, choice in enumerate(choices, start=1):
            facts = {name: getattr(choice, name) for name in columns}
            console.say(f"{rank:>4}  {choice.case}  {choice.reason}", **facts)
        if output is not None:
            rows = [{name: getattr(choice, name) for name in columns} for choice in choices]
            with atomic_path(output) as temporary:
                temporary.write_text(csv_text(columns, rows), encoding="utf-8", newline="")
            console.say(f"table: {output}", path=str(output))
