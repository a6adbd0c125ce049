"""``medseg cohort``: import, check, split and show which scans belong together; one file a verb."""

from __future__ import annotations

import typer

from medseg.cli.cohort.add import add
from medseg.cli.cohort.check import check
from medseg.cli.cohort.importing import import_
from medseg.cli.cohort.next import next_
from medseg.cli.cohort.show import show
from medseg.cli.cohort.split import split

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Import, check, split, show and extend cohorts: a card (YAML) and a table (CSV).",
)
app.command("import")(import_)
app.command()(check)
app.command()(split)
app.command()(add)
app.command("next")(next_)
app.command()(show)
