"""``medseg compare``: paired statistics between methods on the same cases."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from medseg.cli.console import open_console
from medseg.cli.exits import DONE
from medseg.cli.options import Json, Overwrite, Quiet, Seed


def compare(
    evaluations: Annotated[
        list[Path],
        typer.Argument(
            help="Two or more outputs of `medseg evaluate`; name=FOLDER gives a method its name."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for tables, figures and report.")
    ],
    *,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Metric to compare; may be repeated. All tests are corrected together."),
    ] = None,
    interval: Annotated[
        Literal["auto", "studentised", "bca"],
        typer.Option(help="How intervals over patients are made."),
    ] = "auto",
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Compare methods on the same cases: paired differences, intervals, tests, effect sizes.

    \b
    Example:
        medseg compare unet=evaluation/unet fcn=evaluation/fcn --output comparison
    """
    from medseg import evaluation
    from medseg.config import EvaluateConfig
    from medseg.config.kinds import Kind, refuse_other_kinds
    from medseg.evaluation.comparing import COMPARED, power_line
    from medseg.evaluation.tables import p_text
    from medseg.reports.comparison import FILES, warning_lines, write_comparison
    from medseg.writers.guard import guard_outputs

    config = EvaluateConfig(interval=interval, seed=seed)
    folders = _named(evaluations)
    for folder in folders.values():
        refuse_other_kinds(folder, Kind.EVALUATION, also=[Kind.FOLDER])
    scores = {name: evaluation.read_scores(folder) for name, folder in folders.items()}
    with (
        guard_outputs(
            output,
            "compare",
            claims=FILES,
            inputs=[path for folder in folders.values() for path in folder.glob("*.csv")],
            overwrite=overwrite,
        ),
        open_console(quiet=quiet, json=json) as console,
    ):
        comparison = evaluation.compare(scores, config=config, metrics=metric or COMPARED)
        write_comparison(output, comparison)
        for line in warning_lines(comparison):
            console.warn(line)
        for row in comparison.table.to_dict("records"):
            console.say(
                f"{row['metric']} {row['label']}: {row['second']} − {row['first']} = "
                f"{row['difference']:+.4f} {_interval(row['ci_low'], row['ci_high'])}, "
                f"p (Holm) {p_text(row['p_holm'])}",
                **{str(k): v for k, v in row.items()},
            )
        console.say(power_line(comparison), p_least=comparison.p_least)
        console.say(f"report: {output / 'report.html'}", report=str(output / "report.html"))
    raise typer.Exit(DONE)


def _interval(low: float, high: float) -> str:
    """The ends, or that there are too few patients for them."""
    return f"[{low:+.4f}, {high:+.4f}]" if low == low else "(too few patients for an interval)"


def _named(arguments: list[Path]) -> dict[str, Path]:
    """Folders by the name of the method: what is before ``=``, else the folder's own name."""
    from medseg.errors import BadConfig

    named: dict[str, Path] = {}
    for argument in arguments:
        name, equals, folder = str(argument).partition("=")
        if not equals or os.path.lexists(argument):
            name, folder = Path(os.path.abspath(argument)).name, str(argument)  # noqa: PTH100
        if name in named:
            raise BadConfig(
                "two evaluations have the same name",
                found=repr(name),
                remedy="Name them: unet=FOLDER fcn=FOLDER.",
            )
        named[name] = Path(folder)
    return named
