"""The verbs of ``medseg``: one file a verb, registered in the list below.

A verb file imports only light modules at its top (typer, errors, config) and whatever is heavy
(torch, readers, pandas) inside its function, so that ``medseg --help`` stays quick.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import medseg
from medseg.cli import (
    cohort,
    compare,
    convert,
    demo,
    doctor,
    evaluate,
    export,
    import_model,
    networks,
    plan,
    preview,
    review,
    segment,
    status,
    train,
)
from medseg.cli.exits import foreseen_exits
from medseg.cli.help import Verb, verb_with_settings


class Verbs(TyperGroup):
    """Runs a verb; foreseen errors become one line and an exit code, bugs keep their traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb that the arguments name."""
        with foreseen_exits():
            return super().invoke(ctx)

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order in which one needs them, not by the alphabet."""
        return list(self.commands)


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

#: In the order in which one needs them.
VERBS = (
    demo.demo,
    convert.convert,
    plan.plan,
    preview.preview,
    train.train,
    segment.segment,
    status.status,
    review.review,
    evaluate.evaluate,
    compare.compare,
    networks.networks,
    export.export,
    import_model.import_model,
    doctor.doctor,
)
#: Those that take ``key=value``, and the model in `medseg.config` that checks it.
SETTINGS = {segment.segment: "SegmentConfig"}
for verb in VERBS:
    app.command(cls=verb_with_settings(SETTINGS[verb]) if verb in SETTINGS else Verb)(verb)
app.add_typer(cohort.app, name="cohort")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"medseg {medseg.__version__}")
        raise typer.Exit


@app.callback()
def _medseg(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Train, segment and evaluate on CT and MR: from a scan to a mask on the scan's own grid.

    \b
    To start, offline, in a few minutes:
        medseg demo --output demo
    """
