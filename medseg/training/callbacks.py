"""What happens beside the steps: the time budget, the curves, whole-scan validation, progress."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import lightning as L
import torch

from medseg.errors import TrainingFailed
from medseg.training.module import SegmentationTask
from medseg.training.run import write_schedule

_log = logging.getLogger(__name__)

#: Steps at the start that are not timed: memory is being claimed, kernels are being chosen.
_UNTIMED_STEPS = 5

#: Seconds kept free at the end of a time budget for writing the model.
_RESERVE_SECONDS = 4.0


class Report(Protocol):
    """How a run tells how far it is: steps done, steps in all (if known), and facts by name."""

    def __call__(self, done: int, total: int | None, **facts: object) -> None:
        """Show it."""


class Schedule(L.Callback):
    """Ends the run after its steps; a time budget is turned into steps once, after the warm-up.

    The number is written to ``schedule.json``; from then on everything depends on the step
    alone. At the deadline the run stops whatever is left, and says so.

    Args:
        path: of ``schedule.json``.
        deadline: ``time.monotonic()`` at which the command should be over, or ``None``.
        validations: whole-scan validations to leave time for.
    """

    def __init__(self, path: Path, deadline: float | None, validations: int) -> None:
        self.path = path
        self.deadline = deadline
        self.validations = validations
        self.validation_seconds = 0.0
        self._timed_from: tuple[int, float] | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A number of steps that is given is fixed at once."""
        task = _task(pl_module)
        if task.total_steps is not None and trainer.global_step == 0:
            write_schedule(self.path, task.total_steps)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        """Count, time, stop."""
        del args
        task, step = _task(pl_module), trainer.global_step
        if task.total_steps is None:
            self._time_warmup(task, step)
        elif step >= task.total_steps:
            trainer.should_stop = True
        elif self.deadline is not None and time.monotonic() > self.deadline - _RESERVE_SECONDS / 2:
            _log.warning("time is up after %d of %d planned steps", step, task.total_steps)
            trainer.should_stop = True

    def validated(self, seconds: float) -> None:
        """Take note of what a validation cost; it is no part of a step's time."""
        self.validation_seconds = seconds
        if self._timed_from is not None:
            step, since = self._timed_from
            self._timed_from = step, since + seconds

    def _time_warmup(self, task: SegmentationTask, step: int) -> None:
        if self._timed_from is None:
            if step >= min(_UNTIMED_STEPS, task.loop.warmup - 1):
                self._timed_from = step, time.monotonic()
        elif step >= task.loop.warmup:
            if self.deadline is None:
                raise TrainingFailed("neither a number of steps nor a time budget is set")
            first, since = self._timed_from
            seconds = (time.monotonic() - since) / (step - first)
            left = self.deadline - time.monotonic() - _RESERVE_SECONDS
            left -= self.validations * self.validation_seconds
            task.total_steps = step + max(1, int(left / max(seconds, 1e-6)))
            write_schedule(self.path, task.total_steps, seconds_a_step=round(seconds, 4))


class Curves(L.Callback):
    """Appends to ``curves.csv``: step, minutes, loss, learning rate, and Dice where it was scored.

    A resumed run first drops the rows after its checkpoint.
    """

    columns = ("step", "minutes", "loss", "learning_rate", "dice", "detail")

    def __init__(self, folder: Path, every: int = 10) -> None:
        self.path = folder / "curves.csv"
        self.every = every
        self.minutes_before = 0.0
        self._losses: list[float] = []
        self._started = time.monotonic()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the file, or cut it back to the checkpoint."""
        del pl_module
        rows = [row for row in read_curves(self.path) if int(row["step"]) <= trainer.global_step]
        self.minutes_before = float(rows[-1]["minutes"]) if rows else 0.0
        self._started = time.monotonic()
        with self.path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(rows)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any
    ) -> None:
        """Write the mean loss of the last steps."""
        del args
        self._losses.append(float(outputs["loss"]))
        if trainer.global_step % self.every == 0:
            mean = sum(self._losses) / len(self._losses)
            self._losses.clear()
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            self.add(trainer.global_step, loss=f"{mean:.5f}", learning_rate=f"{rate:.3g}")
            del pl_module

    def add(self, step: int, **values: str) -> None:
        """Append one row."""
        minutes = self.minutes_before + (time.monotonic() - self._started) / 60
        with self.path.open("a", newline="", encoding="utf-8") as file:
            row = {"step": step, "minutes": f"{minutes:.3f}", **values}
            csv.DictWriter(file, self.columns).writerow(row)


def read_curves(path: Path) -> list[dict[str, str]]:
    """The rows of a ``curves.csv``; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [dict(row) for row in csv.DictReader(file)]


class WholeScanValidation(L.Callback):
    """Scores the averaged weights on whole scans of the validation fold, evenly over the run.

    Args:
        score: (network) to mean Dice of each label by name.
        curves: gets a row each time.
        schedule: gets the time it took.
        times: how often in a run, the last at its end.
    """

    def __init__(
        self,
        score: Callable[[torch.nn.Module], Mapping[str, float]],
        curves: Curves,
        schedule: Schedule,
        times: int,
    ) -> None:
        self.score = score
        self.curves = curves
        self.schedule = schedule
        self.times = times
        self.best: tuple[float, int] = (-1.0, 0)
        self.latest: float | None = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        """Validate when it is time."""
        del args
        task, step = _task(pl_module), trainer.global_step
        first = step == task.loop.warmup - 1 and task.total_steps is None
        due = (
            task.total_steps is not None
            and self.times > 0
            and (
                step * self.times // task.total_steps != (step - 1) * self.times // task.total_steps
            )
        )
        if not (first or due) or step == 0:
            return
        started = time.monotonic()
        dice = self.score(_averaged_network(trainer, task))
        self.schedule.validated(time.monotonic() - started)
        task.train()
        mean = sum(dice.values()) / max(1, len(dice))
        self.latest = mean
        self.best = max(self.best, (mean, step))
        self.curves.add(
            step,
            dice=f"{mean:.5f}",
            detail=" ".join(f"{name}={value:.4f}" for name, value in dice.items()),
        )


class Progress(L.Callback):
    """Tells how far the run is, and which share of the time waited for data."""

    def __init__(self, report: Report, validation: WholeScanValidation | None) -> None:
        self.report = report
        self.validation = validation
        self._waited = 0.0
        self._worked = 0.0
        self._mark = time.monotonic()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        """The batch is here: what passed since the last step was waiting."""
        del trainer, pl_module, args
        now = time.monotonic()
        self._waited += now - self._mark
        self._mark = now

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any
    ) -> None:
        """The step is over."""
        del args
        now = time.monotonic()
        self._worked += now - self._mark
        facts: dict[str, object] = {"loss": f"{float(outputs['loss']):.3f}"}
        if self.validation is not None and self.validation.latest is not None:
            facts["dice"] = f"{self.validation.latest:.3f}"
        facts["data_wait"] = f"{self.data_wait:.1%}"
        self.report(trainer.global_step, _task(pl_module).total_steps, **facts)
        self._mark = time.monotonic()

    @property
    def data_wait(self) -> float:
        """Share of the time in which no step ran because its batch was not there."""
        return self._waited / max(1e-9, self._waited + self._worked)


def _task(module: L.LightningModule) -> SegmentationTask:
    if not isinstance(module, SegmentationTask):
        raise TypeError(f"expected a SegmentationTask, got {type(module).__name__}")
    return module


def _averaged_network(trainer: L.Trainer, task: SegmentationTask) -> torch.nn.Module:
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        averaged = getattr(callback, "_average_model", None)
        if averaged is not None:
            return averaged.module.network  # type: ignore[no-any-return]
    return task.network
