"""``medseg train``: a config and its cohort in, a model folder out."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.arguments import train_config
from medseg.cli.console import Console, duration, open_console
from medseg.cli.device import pick_device
from medseg.cli.environment import command_started
from medseg.cli.local_processes import train_together
from medseg.cli.options import Assignments, BreakLock, Device, Json, Overwrite, Quiet, Root

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medseg.config import TrainConfig
    from medseg.manifests import Cohort
    from medseg.model import Model
    from medseg.training import Run

#: What a run leaves where it and others look, and what it replaces as it goes.
_FILES = (
    "config.yaml",
    "schedule.json",
    "init.json",
    "curves.csv",
    "validation.csv",
    "curves.png",
    "model/model.yaml",
)
_MORE = ("model/*", "out_of_fold/*")

#: Above this share of waiting for patches the user hears what to do.
_MUCH_WAITING = 0.05


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Config to train.")],
    assignments: Assignments = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")] = Path(
        "run"
    ),
    root: Root = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run where it stopped.")
    ] = False,
    init: Annotated[Path | None, typer.Option(help="Start from this model's weights.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of prepared cases, shared between runs.")
    ] = None,
    break_lock: BreakLock = False,
    overwrite: Overwrite = False,
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
        medseg train plan.yaml training.processes=2 --output RUN
        medseg train plan.yaml --output RUN --resume
    """
    started = command_started("train")
    from medseg.config.kinds import Kind, refuse_other_kinds
    from medseg.manifests import load_cohort
    from medseg.manifests.card import inputs_of
    from medseg.reports.training import draw_curves
    from medseg.training import Run, check_start, hold_run, join_processes, leave_processes
    from medseg.writers.guard import guard_outputs, removed_if_empty

    settings = train_config(config, assignments or [])
    if init is not None:
        refuse_other_kinds(init, Kind.MODEL, also=[Kind.FOLDER])
    chosen = pick_device(device)
    world = join_processes(chosen)
    if settings.training.processes > 1 and world.size == 1:
        words = [str(config), *(assignments or []), "--output", str(output), "--device", device]
        words += _options({"--root": root, "--init": init, "--cache": cache})
        words += _options({"--resume": resume, "--overwrite": overwrite})
        words += _options({"--quiet": quiet, "--json": json})
        with removed_if_empty(output), hold_run(output, break_lock=break_lock) as lock:
            count = settings.training.processes
            raise typer.Exit(train_together(count, words, started=started, lock=lock.descriptor))
    cohort = load_cohort(config.parent / settings.cohort, root=root)
    if init is not None:
        check_start(init, settings, cohort)
    if not world.first:
        logging.getLogger("medseg").setLevel(logging.ERROR)  # the first one speaks for all
    files = (*_FILES, *_MORE)
    given = [config, *inputs_of(config.parent / settings.cohort, root=root)]
    given += [] if init is None else [path for path in init.rglob("*") if path.is_file()]
    guard = guard_outputs(
        output, "train", claims=_FILES, patterns=files, inputs=given, overwrite=overwrite
    )
    holds = world.first and not world.is_held
    place = world.device(chosen)
    run = Run(output, place, started, cache, init, world, draw_curves, break_lock)
    with (
        removed_if_empty(output) if holds else nullcontext(),
        hold_run(output, break_lock=break_lock) if holds else nullcontext(),
        guard if world.first else nullcontext(),
        open_console(quiet=quiet or not world.first, json=json and world.first) as console,
    ):
        _train(settings, cohort, run, console, resume=resume)
    leave_processes()


def _options(values: Mapping[str, object]) -> list[str]:
    """Options as words of the command line; those that are not set are left out."""
    return [name if value is True else f"{name}={value}" for name, value in values.items() if value]


def _train(
    settings: TrainConfig, cohort: Cohort, run: Run, console: Console, *, resume: bool
) -> None:
    """One network, or one a fold; the first of several processes says how it went."""
    from medseg.training import begin_run, train_folds
    from medseg.training import train as train_one

    if run.world.first:
        begin_run(run.folder, settings, resume=resume)
    run.world.wait()
    model = (train_folds if settings.folds else train_one)(
        settings,
        cohort,
        run,
        prepared=console.progress("preparing"),
        report=console.progress("training"),
    )
    if run.world.first:
        _say_how_it_went(console, model)


def _say_how_it_went(console: Console, model: Model) -> None:
    """One line: steps, time, waiting, what was skipped, and how good it is where that is known."""
    source = model.card.provenance
    facts = [f"trained {source.steps} steps in {duration(source.seconds)}"]
    if source.pace is not None:
        facts += [f"{source.pace.seconds_a_step:.3g} s a step"]
        facts += [f"{source.pace.data_wait:.1%} of it waiting for patches"]
    facts += [f"{source.non_finite_steps} steps skipped as not finite"]
    if source.float32_steps:
        facts += [f"{source.float32_steps} computed again in float32"]
    seen = source.validation
    if seen is not None:
        (last, last_dice), (best, best_dice) = seen.last, seen.best
        facts += [f"Dice {last_dice:.3f} at step {last}, best {best_dice:.3f} at step {best}"]
        facts += [f"kept the {seen.kept}"]
    console.say(
        f"{', '.join(facts)}: {model.folder}",
        model=str(model.folder),
        steps=source.steps,
        seconds=source.seconds,
        non_finite_steps=source.non_finite_steps,
        float32_steps=source.float32_steps,
        **({} if source.pace is None else source.pace.model_dump()),
        **({} if seen is None else {"validation": seen.model_dump()}),
    )
    if source.pace is not None and source.pace.data_wait > _MUCH_WAITING:
        console.warn(
            f"{source.pace.data_wait:.0%} of the steps' time was waiting for patches:"
            " try training.workers=2"
        )
