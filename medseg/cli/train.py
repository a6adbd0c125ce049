"""``medseg train``: a config and its cohort in, a model folder out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.console import Device, Json, Quiet, open_console, pick_device

_STARTED = time.monotonic()


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="What to train.")],
    assignments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value …]", help="Changes to it, such as training.minutes=30."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")] = Path(
        "run"
    ),
    root: Annotated[Path | None, typer.Option(help="Where the cohort's files lie.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run stopped.")] = False,
    init: Annotated[Path | None, typer.Option(help="Model to start from.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of prepared cases to share.")] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train a network on the train rows of a cohort; leaves OUTPUT/model.

    \b
    Examples:
        medseg train pipelines/hippocampus.yaml --root DATA --output RUN
        medseg train plan.yaml training.minutes=30 network.name=fcn8s --output RUN
        medseg train plan.yaml folds=5 --output RUN
        medseg train plan.yaml --output RUN --resume
    """
    from medseg.config import TrainConfig, load_yaml, override, validate
    from medseg.manifests import load_cohort
    from medseg.training import Run, begin_run, train_folds
    from medseg.training import train as train_one

    started = _STARTED if time.monotonic() - _STARTED < 120 else time.monotonic()
    values = override(load_yaml(config), assignments or [])
    settings = validate(TrainConfig, values, path=str(config))
    cohort = load_cohort(config.parent / settings.cohort, root=root)
    begin_run(output, settings, resume=resume)
    with open_console(quiet=quiet, json=json) as console:
        run = Run(output, pick_device(device), started, cache, init)
        run_training = train_folds if settings.folds else train_one
        model = run_training(
            settings,
            cohort,
            run,
            prepared=console.progress("preparing"),
            report=console.progress("training"),
        )
        card = model.card.provenance
        console.say(
            f"trained {card.steps} steps in {card.seconds / 60:.1f} min: {model.folder}",
            model=str(model.folder),
            steps=card.steps,
            seconds=card.seconds,
            non_finite_steps=card.non_finite_steps,
        )
        if card.non_finite_steps:
            console.warn(f"{card.non_finite_steps} steps were skipped: a gradient was not finite")
