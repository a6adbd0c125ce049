"""``medseg compare``: which method is better on the same cases, and how sure is that?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from medseg.cli.console import DONE, Json, Quiet, Seed, open_console


def compare(
    evaluations: Annotated[
        list[Path],
        typer.Argument(
            help="Two or more outputs of `medseg evaluate`; name=FOLDER gives a method its name."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", help="Folder for tables and report.")],
    *,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="What to compare; may be repeated. All tests are corrected together."),
    ] = None,
    interval: Annotated[
        Literal["studentised", "bca"], typer.Option(help="Bootstrap interval over patients.")
    ] = "studentised",
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Paired statistics between methods: differences, intervals, tests, effect sizes.

    \b
    Example:
        medseg compare unet=evaluation/unet fcn=evaluation/fcn --output comparison
    """
    from medseg import evaluation
    from medseg.config import EvaluateConfig
    from medseg.evaluation.comparing import COMPARED
    from medseg.evaluation.tables import p_text
    from medseg.reports.comparison import left_out_lines, write_comparison

    config = EvaluateConfig(interval=interval, seed=seed)
    with open_console(quiet=quiet, json=json) as console:
        scores = {
            name: evaluation.read_scores(folder) for name, folder in _named(evaluations).items()
        }
        found = evaluation.compare(scores, config=config, metrics=metric or COMPARED)
        write_comparison(output, found)
        for line in left_out_lines(found):
            console.warn(line)
        for row in found.table.to_dict("records"):
            console.say(
                f"{row['metric']} {row['label']}: {row['second']} − {row['first']} = "
                f"{row['difference']:+.4f} [{row['ci_low']:+.4f}, {row['ci_high']:+.4f}], "
                f"p (Holm) {p_text(row['p_holm'])}",
                **{str(k): v for k, v in row.items()},
            )
        console.say(f"report: {output / 'report.html'}", report=str(output / "report.html"))
    raise typer.Exit(DONE)


def _named(arguments: list[Path]) -> dict[str, Path]:
    """Folders by the name of the method: what is before ``=``, else the folder's own name."""
    from medseg.errors import BadConfig

    named: dict[str, Path] = {}
    for argument in arguments:
        name, equals, folder = str(argument).partition("=")
        if not equals or argument.exists():
            name, folder = argument.resolve().name, str(argument)
        if name in named:
            raise BadConfig(
                "two evaluations have one name",
                found=repr(name),
                remedy="Name them: unet=FOLDER fcn=FOLDER.",
            )
        named[name] = Path(folder)
    return named
