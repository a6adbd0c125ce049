"""How many steps does a run have?  A time budget becomes steps; the deadline is hard."""

from __future__ import annotations

import logging
from pathlib import Path
from time import monotonic
from typing import Any

import lightning as L

from medseg.errors import TrainingFailed
from medseg.training.length import Length
from medseg.training.module import SegmentationTask, task_of
from medseg.training.run import write_length

_log = logging.getLogger(__name__)

#: Steps at the start that are not timed: memory is being claimed, kernels are being chosen.
_UNTIMED_STEPS = 5

#: Seconds at the end of a time budget for writing the model and ending the process.
_FINISH_SECONDS = 2.5

#: Share of the time in which curves are redrawn between validations.
SPARE_SHARE = 0.01

#: Shares of the planned steps at which the plan is corrected by how quick they were: a machine
#: that has other things to do while a warm-up is timed would else miss its budget.
_CORRECTED_AT = (0.25, 0.5, 0.75, 0.9)

#: Several processes agree on the hard stop at every so many steps.
_AGREE_EVERY = 10


class Schedule(L.Callback):
    """Ends the run after its steps; a time budget is turned into steps after a timed warm-up.

    The number is corrected a few times on the way. Each plan is written to ``schedule.json``
    with the step from which it holds, so that everything depends on the step alone and a run
    that resumes goes on as it would have. A resumed run corrects no more. At the deadline the
    run stops whatever is left, and says so.

    Args:
        path: of ``schedule.json``.
        deadline: ``time.monotonic()`` at which the command should be over, or ``None``.
        validations: whole-scan validations to leave time for.

    Attributes:
        is_late: whether the deadline, not the last step, ended the run.
    """

    def __init__(self, path: Path, deadline: float | None, validations: int) -> None:
        self.path = path
        self.deadline = deadline
        self.validations = validations
        self.validation_seconds = 0.0
        self._timed_from: tuple[int, float] | None = None
        self._corrections: list[float] = []
        self._latest = monotonic()
        self._step_seconds = 0.0
        self.is_late = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A number of steps that is given is fixed at once."""
        self._latest = monotonic()
        length = task_of(pl_module).length
        if length is not None and trainer.global_step == 0 and trainer.is_global_zero:
            write_length(self.path, length)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        """Count, time, stop."""
        del args
        task, step = task_of(pl_module), trainer.global_step
        self._step_seconds, self._latest = monotonic() - self._latest, monotonic()
        if task.total_steps is None:
            self._time_warmup(trainer, task, step)
        elif self._corrections and step >= self._corrections[0] * task.total_steps:
            del self._corrections[0]
            self._plan(trainer, task, step)
        if task.total_steps is not None and step >= task.total_steps:
            trainer.should_stop = True
        elif self._must_stop(trainer, step):
            self._stop_late(trainer, task, step)

    def validated(self, seconds: float) -> None:
        """Take note of what a validation cost; it is no part of a step's time."""
        self.validation_seconds = seconds
        self._latest += seconds
        if self._timed_from is not None:
            step, since = self._timed_from
            self._timed_from = step, since + seconds

    @property
    def allows_validation(self) -> bool:
        """Whether the deadline leaves time for one more."""
        if self.deadline is None:
            return True
        end = monotonic() + self.validation_seconds
        return not self.is_late and end < self.deadline - _FINISH_SECONDS

    def _time_warmup(self, trainer: L.Trainer, task: SegmentationTask, step: int) -> None:
        if self._timed_from is None:
            if step >= min(_UNTIMED_STEPS, task.loop.warmup - 1):
                self._timed_from = step, monotonic()
        elif step >= task.loop.warmup:
            if self.deadline is None:
                raise TrainingFailed("neither a number of steps nor a time budget is set")
            self._corrections = list(_CORRECTED_AT)
            self._plan(trainer, task, step)

    def _plan(self, trainer: L.Trainer, task: SegmentationTask, step: int) -> None:
        """Turn the time that is left into steps, at the pace since the last plan."""
        if self.deadline is None or self._timed_from is None:
            return
        first, since = self._timed_from
        seconds = (monotonic() - since) / (step - first)
        steps = self._steps_that_fit(step, self.deadline - monotonic(), seconds)
        steps = int(trainer.strategy.broadcast(steps))
        if task.length is None:
            task.length = Length(((task.loop.warmup, steps),))
        else:  # the learning rate of the next step is set already
            task.length = task.length.corrected(step + 1, steps)
        self._timed_from = step, monotonic()
        self._corrections = [share for share in self._corrections if share * steps > step]
        if trainer.is_global_zero:
            write_length(self.path, task.length, seconds_a_step=round(seconds, 4))

    def _steps_that_fit(self, step: int, seconds: float, seconds_a_step: float) -> int:
        """The length of a run of which so many steps are over and so many seconds are left."""
        total = step + 1
        for validations in range(self.validations + 1):
            left = seconds - _FINISH_SECONDS - validations * self.validation_seconds
            left *= 1 - SPARE_SHARE
            total = step + max(1, int(left / max(seconds_a_step, 1e-6)))
            if self.validations - step * self.validations // total <= validations:
                break  # those before this step are not coming
        return total

    def _must_stop(self, trainer: L.Trainer, step: int) -> bool:
        """Whether one more step would pass the deadline; the first process's clock decides."""
        if self.deadline is None:
            return False
        late = monotonic() + self._step_seconds > self.deadline - _FINISH_SECONDS
        if trainer.world_size == 1:
            return late
        return step % _AGREE_EVERY == 0 and bool(trainer.strategy.broadcast(late))

    def _stop_late(self, trainer: L.Trainer, task: SegmentationTask, step: int) -> None:
        self.is_late = True
        planned = "its warm-up" if task.total_steps is None else f"{task.total_steps} planned steps"
        _log.warning("time is up after %d steps of %s", step, planned)
        if task.total_steps is None:
            task.length = Length(((task.loop.warmup, step),))
            if trainer.is_global_zero:
                write_length(self.path, task.length)
        trainer.should_stop = True
