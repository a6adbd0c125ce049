"""``medseg cohort add``: train rows of masks that were accepted or corrected in a review."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.cohort.cards import Card, NewCard, counted, guard_rows, say_parts, write_rows
from medseg.cli.console import open_console
from medseg.cli.exits import SOME_FAILED
from medseg.cli.options import Json, Overwrite, Quiet, Root


def add(
    card: Card,
    *,
    review: Annotated[
        Path, typer.Option("--from", metavar="REVIEW", help="Folder that was reviewed.")
    ],
    rater: Annotated[str, typer.Option(help="Whose verdicts count; everybody's by default.")] = "",
    patients: Annotated[
        Path | None, typer.Option(metavar="TABLE", help="CSV with the columns case and patient.")
    ] = None,
    output: NewCard = None,
    root: Root = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Add masks that were accepted or corrected in medseg review as train rows.

    Test rows never change, and a patient or scan of the test part is never added. A scan that the
    cohort has under another patient joins that patient. Each row says why it was added or left
    out. Exit code 1 where nothing was added.

    \b
    Examples:
        medseg cohort add liver.yaml --from masks
        medseg cohort add liver.yaml --from masks --output liver2.yaml
        medseg train plan.yaml --init runs/liver/model --output runs/liver2
    """
    from medseg.config.kinds import Kind, refuse_other_kinds
    from medseg.manifests import load_cohort
    from medseg.review.harvest import harvest

    cohort = load_cohort(card, root=root)
    refuse_other_kinds(review, Kind.MASKS, also=[Kind.FOLDER, Kind.VOLUMES, Kind.EVALUATION])
    with (
        guard_rows(card, output, root=root, overwrite=overwrite),
        open_console(quiet=quiet, json=json) as console,
    ):
        result = harvest(
            cohort, review, rater=rater, patients=patients, progress=console.progress("comparing")
        )
        for remark in result.remarks:
            console.warn(remark, remark=remark)
        for case, reason in result.left_out.items():
            console.say(f"  left out  {case}: {reason}", case=case, left_out=reason)
        for case, what in result.added.items():
            console.say(f"  added     {case}: {what}", case=case, added=what)
        if not result.added:
            console.say(f"{card}: nothing to add", added=0)
            raise typer.Exit(SOME_FAILED)
        written = write_rows(result.cohort, card, output)
        console.say(
            f"{written}: {counted(len(result.added), 'row')} added",
            path=str(written),
            rows=len(result.added),
        )
        say_parts(console, result.cohort)
