"""``medseg evaluate``: how good are these predictions, and how sure is that?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from medseg.cli.console import DONE, SOME_FAILED, Json, Quiet, Seed, open_console


def evaluate(
    predictions: Annotated[
        Path, typer.Argument(help="Folder of masks, as `medseg segment` leaves it.")
    ],
    card: Annotated[Path, typer.Argument(help="The cohort's card.")],
    output: Annotated[Path, typer.Option("--output", help="Folder for tables and report.")],
    *,
    split: Annotated[
        str,
        typer.Option(help="test, train, or folds: a cross-validation's out-of-fold predictions."),
    ] = "test",
    root: Annotated[Path | None, typer.Option(help="Where the card's files lie.")] = None,
    labels: Annotated[
        str,
        typer.Option(
            metavar="FILE|cohort",
            help="What foreign predictions' values mean: a YAML file with "
            "`labels:`, or `cohort` if they are the card's.",
        ),
    ] = "",
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MM|LABEL=MM",
            help="NSD tolerance, for all labels or one; may be repeated.",
        ),
    ] = None,
    interval: Annotated[
        Literal["studentised", "bca"], typer.Option(help="Bootstrap interval over patients.")
    ] = "studentised",
    curves: Annotated[Path | None, typer.Option(help="CSV of the training, for the page.")] = None,
    resample_nearest: Annotated[
        bool,
        typer.Option(
            "--resample-nearest",
            help="Bring predictions to the truth's grid instead of refusing.",
        ),
    ] = False,
    allow_leakage: Annotated[
        bool,
        typer.Option(
            "--allow-leakage", help="Score scans that trained the model; the report tells."
        ),
    ] = False,
    workers: Annotated[
        int,
        typer.Option(min=0, help="Processes, each with one case; 0 decides by cores and cases."),
    ] = 0,
    seed: Seed = 0,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Score masks against a cohort's truth: scores.csv, summary.csv, report.html.

    Missing predictions count as empty and are named; exit code 1 tells of them.

    \b
    Example:
        medseg evaluate masks data_manifests/hippocampus.yaml --output evaluation
    """
    from medseg import evaluation
    from medseg.manifests import load_cohort
    from medseg.reports.evaluation_folder import write_evaluation

    config = _config(
        tolerance or [],
        interval=interval,
        seed=seed,
        other_grid="nearest" if resample_nearest else "refuse",
        leakage="tell" if allow_leakage else "refuse",
    )
    cohort = load_cohort(card, root=root)
    table = _labels(labels, cohort.labels)
    with open_console(quiet=quiet, json=json) as console:
        scores = evaluation.evaluate(
            predictions,
            cohort,
            split=split,
            labels=table,
            config=config,
            workers=workers or _workers(len(cohort.cases)),
            progress=console.progress("scoring"),
        )
        for line in evaluation.problems(scores):
            console.warn(line)
        tasks = evaluation.plan_tasks(predictions, cohort, split=split, labels=table, config=config)
        summary = write_evaluation(output, scores, tasks, curves=curves)
        rows = summary[summary["metric"] == "dice"]
        for row in rows.itertuples():
            console.say(
                f"Dice {row.label}: {row.mean:.4f} [{row.ci_low:.4f}, {row.ci_high:.4f}], "
                f"n {row.n}",
                label=row.label,
                dice=row.mean,
            )
        console.say(f"report: {output / 'report.html'}", report=str(output / "report.html"))
    usable = bool((scores.cases["status"] == "scored").all())
    raise typer.Exit(DONE if usable else SOME_FAILED)


def _config(tolerances: list[str], **options: object):  # type: ignore[no-untyped-def]
    from medseg.config import EvaluateConfig, validate
    from medseg.errors import BadConfig

    values: dict[str, object] = dict(options)
    single: dict[str, float] = {}
    for text in tolerances:
        name, _, mm = text.rpartition("=")
        try:
            distance = float(mm)
        except ValueError:
            raise BadConfig(
                "not a tolerance", found=repr(text), expected="2 or liver=2, in mm"
            ) from None
        if name:
            single[name] = distance
        else:
            values["tolerance_mm"] = distance
    return validate(EvaluateConfig, {**values, "tolerances_mm": single})


def _labels(text: str, ours):  # type: ignore[no-untyped-def]
    from medseg.config import load_yaml
    from medseg.labels import LabelTable

    if not text:
        return None
    return ours if text == "cohort" else LabelTable.from_card(load_yaml(Path(text)))


def _workers(cases: int) -> int:
    """Starting a process costs about as much as scoring ten small cases."""
    import os

    return max(1, min(os.cpu_count() or 1, 8, cases // 10))
