"""``medseg evaluate``: scores of masks against true ones, with intervals and a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from medseg.cli.arguments import require_choice
from medseg.cli.console import Console, open_console
from medseg.cli.exits import DONE, SOME_FAILED
from medseg.cli.options import Json, Overwrite, Quiet, Root, Seed

if TYPE_CHECKING:
    from medseg.config import EvaluateConfig
    from medseg.labels import LabelTable
    from medseg.manifests import Cohort


_Predictions: TypeAlias = Annotated[
    Path, typer.Argument(help="Folder of masks, as `medseg segment` leaves it, or one mask.")
]
_Truths: TypeAlias = Annotated[
    Path,
    typer.Argument(metavar="CARD|TRUTHS", help="A cohort's card, or true masks: folder, file."),
]
_Output: TypeAlias = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for tables, figures and report.")
]
_Split: TypeAlias = Annotated[
    str,
    typer.Option(help="test, train, or folds: a cross-validation's out-of-fold predictions."),
]
_Labels: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="NAME=VALUE,…|FILE|cohort",
        help="Label values of masks from other tools: liver=1,tumour=2, a YAML file with "
        "`labels:`, or `cohort` if they are the card's.",
    ),
]
_Tolerance: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MM|LABEL=MM",
        help="NSD tolerance in mm, for all labels or for one; may be repeated.",
    ),
]
_Interval: TypeAlias = Annotated[
    Literal["auto", "studentised", "bca"],
    typer.Option(
        help="How intervals are made: auto allows for failures not seen where patients are "
        "few; studentised and bca are bootstraps over patients."
    ),
]
_Curves: TypeAlias = Annotated[
    Path | None, typer.Option(help="Training curves (curves.csv) for the report.")
]
_ResampleNearest: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--resample-nearest",
        help="Resample predictions to the truth's grid instead of refusing them.",
    ),
]
_AllowLeakage: TypeAlias = Annotated[
    bool,
    typer.Option("--allow-leakage", help="Score scans that trained the model; the report says so."),
]
_Workers: TypeAlias = Annotated[
    int,
    typer.Option(min=0, help="Worker processes; 0 chooses by cores and cases."),
]


def evaluate(
    predictions: _Predictions,
    truths: _Truths,
    output: _Output,
    *,
    split: _Split = "test",
    root: Root = None,
    labels: _Labels = "",
    tolerance: _Tolerance = None,
    interval: _Interval = "auto",
    curves: _Curves = None,
    resample_nearest: _ResampleNearest = False,
    allow_leakage: _AllowLeakage = False,
    workers: _Workers = 0,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Score masks against a cohort's truth, or against a folder of true masks.

    Writes scores.csv, summary.csv, report.html, figures/ and methods.md. Masks are matched by
    name, with or without endings such as _0000 or _seg. Missing predictions count as empty, are
    named, and make the exit code 1. After an interruption the same command resumes.

    \b
    Examples:
        medseg evaluate masks data_manifests/hippocampus.yaml --output evaluation
        medseg evaluate predictionsTs labelsTs --labels liver=1,tumour=2 -o evaluation
        medseg evaluate mask.nii.gz truth.nii.gz --labels liver=1 -o evaluation
    """
    from medseg import evaluation
    from medseg.config.kinds import Kind, refuse_other_kinds
    from medseg.errors import BadOutput
    from medseg.evaluation.journal import NAME as JOURNAL
    from medseg.reports.evaluation_folder import FILES, write_evaluation
    from medseg.tables import read_csv
    from medseg.writers.guard import guard_outputs

    masks = (Kind.FOLDER, Kind.VOLUMES, Kind.EVALUATION, Kind.RUN, Kind.SCAN)
    refuse_other_kinds(predictions, Kind.MASKS, also=masks)
    refuse_other_kinds(truths, Kind.CARD, also=(Kind.MASKS, *masks))
    config = _config(
        tolerance or [],
        interval=interval,
        seed=seed,
        other_grid="nearest" if resample_nearest else "refuse",
        leakage="tell" if allow_leakage else "refuse",
    )
    cohort, table = _truth(truths, root, labels)
    require_choice("--split", split, ("test", "train", "folds"))
    if curves is not None:
        read_csv(curves, refusal=BadOutput)
    given = _inputs((predictions, truths), output, curves)
    with (
        guard_outputs(output, "evaluate", claims=FILES, inputs=given, overwrite=overwrite),
        open_console(quiet=quiet, json=json) as console,
    ):
        scores = evaluation.evaluate(
            predictions,
            cohort,
            split=split,
            labels=table,
            config=config,
            workers=workers or _workers(len(cohort.cases)),
            progress=console.progress("scoring"),
            journal=output / JOURNAL,
        )
        scores = scores.at(predictions, truths, root, beside=output)
        for line in evaluation.problems(scores):
            console.warn(line)
        tasks = evaluation.plan_tasks(predictions, cohort, split=split, labels=table, config=config)
        summary = write_evaluation(output, scores, tasks, curves=curves)
        _say_dice(summary[summary["metric"] == "dice"], console)
        console.say(f"report: {output / 'report.html'}", report=str(output / "report.html"))
    usable = bool((scores.cases["status"] == "scored").all())
    raise typer.Exit(DONE if usable else SOME_FAILED)


def _say_dice(rows: Any, console: Console) -> None:
    """A line for every label of a summary's rows of Dice, and what to know of their intervals."""
    from medseg.evaluation.tables import interval_notes, with_interval

    for _, row in rows.iterrows():
        console.say(
            f"Dice {row['label']}: {with_interval(row, 'dice')}, {row['n']} cases, "
            f"{row['patients']} patients",
            label=row["label"],
            dice=row["mean"],
        )
    for note in interval_notes(rows):
        console.say(note)


def _config(tolerances: list[str], **options: object) -> EvaluateConfig:
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


def _inputs(masks: tuple[Path, Path], output: Path, curves: Path | None) -> list[Path]:
    """What is evaluated, and what lies beside it; not what an earlier evaluation left there."""
    from medseg.writers.guard import FileRecord

    own = FileRecord(output, "evaluate").names()
    files = [path for place in masks for path in (place.glob("*") if place.is_dir() else [place])]
    return [path for path in files if path.name not in own] + ([curves] if curves else [])


def _truth(path: Path, root: Path | None, labels: str) -> tuple[Cohort, LabelTable | None]:
    """The cohort, and what the predictions' values mean (``None``: they say so themselves)."""
    from medseg.errors import BadConfig
    from medseg.evaluation.folders import is_truth, labels_given, truth_cohort
    from medseg.manifests import load_cohort

    table = None
    if labels and labels != "cohort":
        table = labels_given(labels)
    if is_truth(path):
        if root is not None:
            raise BadConfig("--root goes with a card", found=f"true masks in {path}")
        cohort = truth_cohort(path, table)
    else:
        cohort = load_cohort(path, root=root)
    return cohort, cohort.labels if labels == "cohort" else table


def _workers(cases: int) -> int:
    """Starting a process costs about as much as scoring ten small cases."""
    from medseg.memory import usable_cores

    return max(1, min(usable_cores(), 8, cases // 10))
