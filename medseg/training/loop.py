"""One training run: a config and a cohort in, a model folder out."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy

from medseg.config import TrainConfig
from medseg.manifests import Cohort
from medseg.model import CARD, Model, load_model
from medseg.progress import Progress
from medseg.training.build import build_task
from medseg.training.callbacks import Report
from medseg.training.checkpoints import WholeCheckpoints
from medseg.training.checks import check_config, check_held_out, check_share
from medseg.training.converged import check_converged
from medseg.training.data import PatchData, TrainingData, prepare_cohort
from medseg.training.device_cases import cases_on
from medseg.training.module import SegmentationTask
from medseg.training.origin import keep_origin
from medseg.training.precision import lightning_precision, tf32
from medseg.training.processes import srun_not_needed
from medseg.training.rules import learn_on_fold
from medseg.training.run import Run, check_same_cases, read_schedule, write_schedule
from medseg.training.saving import save_run
from medseg.training.setup import Setup, resolve
from medseg.training.watch import Watch, watch_run

_log = logging.getLogger(__name__)
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no tips, no list of devices


def train(
    config: TrainConfig,
    cohort: Cohort,
    run: Run,
    *,
    prepared: Progress,
    report: Report,
) -> Model:
    """Prepare, train, save; a run that was cut short goes on from its last checkpoint.

    Args:
        config: what to train.
        cohort: its train rows are used, its test rows are not opened.
        run: where.
        prepared: called as cases are prepared.
        report: called after every step.

    Raises:
        BadConfig: the config asks for something that does not exist or must not be done.
        BadCohort: no case can be used, or one is refused and ``on_error`` says so.
        TrainingFailed: the weights are of no use, so no model is left.
        KeyboardInterrupt: Ctrl-C or SIGTERM, after the step it came in; its state is kept.
    """
    check_config(config, cohort)
    check_share(config, run)
    if (run.model / CARD).is_file():
        _log.info("the run is over: nothing is left to do")
        if run.world.first:
            learn_on_fold(config, cohort, run)
        return load_model(run.model)
    run.folder.mkdir(parents=True, exist_ok=True)
    is_begun = run.checkpoint.is_file()
    keep_origin(run, begun=is_begun, needed=not is_begun)
    data = prepare_together(config, cohort, run, prepared)
    setup = resolve(config, cohort, data, run)
    check_held_out(setup)
    for case, reason in data.left_out.items():
        _log.warning("case %s is left out: %s", case, reason)
    L.seed_everything(config.training.seed, verbose=False)
    task = build_task(setup)
    watch = watch_run(setup, report)
    _fit(setup, task, watch)
    if run.world.first:
        outcome = watch.outcome(setup, task)
        check_converged(setup, task, outcome)
        save_run(setup, task, outcome)
        learn_on_fold(config, cohort, run)
    run.world.wait()
    return load_model(run.model)


def prepare_together(
    config: TrainConfig, cohort: Cohort, run: Run, prepared: Progress
) -> TrainingData:
    """The prepared cases: made by the first process, found by the others."""
    cache = run.cache or run.folder / "cache"
    if not run.world.first:
        run.world.wait()
    data = prepare_cohort(config, cohort, cache, prepared)
    if run.world.first:
        run.world.wait()
    return data


def _fit(setup: Setup, task: SegmentationTask, watch: Watch) -> None:
    """Step by step to the end, from the last checkpoint where there is one."""
    run, loop, cases = setup.run, setup.config.training, setup.data.digest
    resume = run.checkpoint if run.checkpoint.is_file() else None
    if resume is not None:
        check_same_cases(run.schedule, cases)
    length, task.parts = read_schedule(run.schedule)
    task.length = length or task.length
    if run.world.first and resume is None:
        write_schedule(run.schedule, cases=cases, layout=task.layout)
    task.tell_parts = partial(_tell_parts, run, loop.batch)
    trainer = make_trainer(setup, [watch.averaged, *watch.callbacks], task.total_steps or -1)
    fit(setup, task, trainer, resume)
    watch.averaged.settle(task)
    task.steps_done = trainer.global_step


def make_trainer(setup: Setup, callbacks: Sequence[L.Callback], steps: int) -> L.Trainer:
    """Lightning's trainer for a run's device and precision, without anything of its own."""
    run = setup.run
    with srun_not_needed():
        return L.Trainer(
            **_hardware(run),
            precision=lightning_precision(setup.config.training.precision, run.device),
            benchmark=run.device.type == "cuda",  # few shapes, each in many steps
            max_epochs=-1,
            max_steps=steps,
            callbacks=[*callbacks],
            plugins=[WholeCheckpoints()],
            logger=False,
            enable_checkpointing=any(isinstance(each, ModelCheckpoint) for each in callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            limit_val_batches=0,
            default_root_dir=run.folder,
        )


def fit(setup: Setup, task: SegmentationTask, trainer: L.Trainer, resume: Path | None) -> None:
    """Step by step to the end; on a GPU with the cases there, if they fit."""
    loop, cases, device = setup.config.training, setup.data.train, setup.run.device
    pool = cases_on(cases, device, loop.cases_on_device)
    data = PatchData(cases, setup.plan, loop.workers, pool, task.share if loop.growth > 1 else None)
    rounded = loop.precision == "tf32"
    with srun_not_needed(), _interrupts_raised(trainer), tf32(allowed=rounded):
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists.*")
        warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint.*")
        trainer.fit(task, datamodule=data, ckpt_path=resume)


def _hardware(run: Run) -> dict[str, Any]:
    """Which devices Lightning takes: the one of this process, or one of each process."""
    accelerator = "cpu" if run.device.type == "cpu" else "gpu"
    world = run.world
    if world.size > 1:
        return {
            "accelerator": accelerator,
            "devices": world.size // world.nodes,
            "num_nodes": world.nodes,
            "strategy": DDPStrategy(broadcast_buffers=False),
        }
    devices = 1 if accelerator == "cpu" else [run.device.index or 0]
    return {"accelerator": accelerator, "devices": devices}


def _tell_parts(run: Run, batch: int, step: int, parts: int) -> None:
    """Keep in ``schedule.json`` that memory ran out, so that a resumed run knows."""
    _log.warning(
        "memory ran out at step %d: from here each batch of %d goes through in %d parts; the loss"
        " is their mean, and the weights will differ from an undisturbed run's",
        step,
        batch,
        parts,
    )
    write_schedule(run.schedule, parts=parts, parts_from_step=step)


@contextmanager
def _interrupts_raised(trainer: L.Trainer) -> Iterator[None]:
    """Ctrl-C as Python raises it; Lightning would end the process with its own exit code."""
    try:
        yield
    except SystemExit as end:
        if trainer.interrupted:
            raise KeyboardInterrupt from end
        raise
