"""The cost of a training step of a plan on a device, measured on the very loop of a run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch

from medseg.config import TrainConfig
from medseg.manifests import Cohort
from medseg.progress import Progress, silent
from medseg.training.averaging import AveragedWeights
from medseg.training.build import build_task
from medseg.training.checks import check_config
from medseg.training.data import prepare_cohort
from medseg.training.loop import fit, make_trainer
from medseg.training.module import task_of
from medseg.training.run import Run
from medseg.training.setup import resolve
from medseg.training.times import Times


@dataclass(frozen=True)
class StepCost:
    """What training steps took.

    Attributes:
        seconds_a_step: mean wall time, waiting for patches included.
        data_wait: share of it in which the device had nothing to do but wait for patches.
        peak_bytes: of the device's memory; 0 on a CPU.
        parts: that a batch went through in, because memory ran out; 1 where it did not.
        seconds: of each timed step, by the host's clock between one step and the next.
        loss: of the last step.
    """

    seconds_a_step: float
    data_wait: float
    peak_bytes: int
    parts: int
    seconds: tuple[float, ...]
    loss: float


def measure_steps(
    config: TrainConfig,
    cohort: Cohort,
    folder: Path,
    device: torch.device,
    *,
    steps: int = 20,
    untimed: int = 10,
    progress: Progress = silent,
) -> StepCost:
    """Train a few steps as ``medseg train`` would, and time them; no model is left.

    Network, loss, augmentation, patches, optimiser and averaging are those of a run:

        cost = measure_steps(config, load_cohort(card), Path("scratch"), torch.device("cuda"))
        cost.seconds_a_step, cost.data_wait, cost.peak_bytes

    Args:
        config: of the run; ``training.batch``, ``precision``, ``layout``, ``compile`` and
            ``cases_on_device`` count, its length does not.
        cohort: its train rows are prepared in `folder`, or found there.
        folder: for prepared cases; nothing else is written.
        device: to train on.
        steps: to time.
        untimed: steps before, in which kernels are chosen and memory is claimed.
        progress: called as cases are prepared.
    """
    check_config(config, cohort)
    loop = config.training.model_copy(update={"steps": untimed + steps, "minutes": None})
    config = config.model_copy(update={"training": loop})
    data = prepare_cohort(config, cohort, folder, progress)
    setup = resolve(config, cohort, data, Run(folder, device, time.monotonic()))
    task, clock, times = build_task(setup), _Clock(untimed, device), Times()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    averaged = AveragedWeights(loop.ema, device)
    fit(setup, task, make_trainer(setup, [averaged, times, clock], untimed + steps), None)
    return StepCost(
        seconds_a_step=(clock.stamps[-1] - clock.stamps[0]) / steps,
        data_wait=times.data_wait(),
        peak_bytes=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0,
        parts=task.parts,
        seconds=tuple(b - a for a, b in zip(clock.stamps, clock.stamps[1:], strict=False)),
        loss=clock.loss,
    )


class _Clock(L.Callback):
    """Notes the time after each step from the last untimed one on; waits for the device twice."""

    def __init__(self, untimed: int, device: torch.device) -> None:
        self.untimed = untimed
        self.device = device
        self.stamps: list[float] = []
        self.loss = float("nan")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any
    ) -> None:
        """A step is over."""
        del args
        step, last = trainer.global_step, task_of(pl_module).total_steps
        if step < self.untimed:
            return
        if self.device.type == "cuda" and step in (self.untimed, last):
            torch.cuda.synchronize(self.device)
        if step == last:
            self.loss = float(outputs["loss"])
        self.stamps.append(time.perf_counter())
