"""Turns a time budget into steps, with a hard deadline."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import lightning as L

from medseg.errors import TrainingFailed
from medseg.training.length import Length
from medseg.training.module import SegmentationTask, task_of
from medseg.training.run import read_facts, write_length

_log = logging.getLogger(__name__)

#: Steps at the start that are not timed: memory is being claimed, kernels are being chosen.
_UNTIMED_STEPS = 5

#: Seconds at the end of a time budget for writing the model and ending the process.
_FINISH_SECONDS = 2.5

#: Share of the time in which curves are redrawn between validations.
SPARE_SHARE = 0.01

#: Validations take at most this share of the time after the warm-up; else there are fewer.
_VALIDATION_SHARE = 0.5

#: Some take longer than the one before, and the last should not be left out for that.
_VALIDATION_SLACK = 1.05

#: The first validation is there to be timed: it ends after this share of the time, with fewer
#: scans than the others.
_FIRST_SHARE = 0.1

#: Shares of the planned steps at which the plan is corrected by how quick they were: a machine
#: that has other things to do while a warm-up is timed would else miss its budget.
_CORRECTED_AT = (0.25, 0.5, 0.75, 0.9, 0.97)

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
        times: whole-scan validations to leave time for.
        trailing: what comes after the last step, in validations.

    Attributes:
        times: the same, or as many of them as the time allows.
        is_late: whether the deadline, not the last step, ended the run.
    """

    def __init__(
        self, path: Path, deadline: float | None, times: int, trailing: float = 0.0
    ) -> None:
        self.path = path
        self.deadline = deadline
        self.times = times
        self.trailing = trailing
        self.validation_seconds = 0.0
        self._timed_from: tuple[int, float] | None = None
        self._corrections: list[float] = []
        self._latest = monotonic()
        self._step_seconds = 0.0
        self._room = 0.0  # seconds that validations may still take, after the first plan
        self.is_late = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A number of steps that is given is fixed at once; validations are as planned before."""
        self._latest = monotonic()
        self.times = min(self.times, int(read_facts(self.path).get("validations", self.times)))
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

    def validated(self, seconds: float, share: float = 1.0) -> None:
        """Take note of what this share of a validation cost; it is no part of a step's time."""
        self.validation_seconds = seconds / share
        self._room -= seconds
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

    def patience(self, *, is_timed: bool) -> Callable[[], bool]:
        """Asked between its scans, whether a validation that begins now may go on.

        One that is there to be timed may take a share of the time, the others all that is left.
        """
        if self.deadline is None:
            return lambda: True
        now, end = monotonic(), self.deadline - _FINISH_SECONDS
        if is_timed:
            end = now + _FIRST_SHARE * (end - now)
        return lambda: monotonic() < end

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
        left = self.deadline - monotonic() - _FINISH_SECONDS
        # masks that come after the last step leave at least half of the time
        left = max(left - self.trailing * self.validation_seconds, left / 2)
        if task.length is None:
            self._room = _VALIDATION_SHARE * left
        fitted = self._what_fits(step, left, seconds)
        steps, times = trainer.strategy.broadcast(fitted)
        if times < self.times:
            _log.warning(
                "a validation takes %.0f s: there is time for %d of %d",
                self.validation_seconds,
                times,
                self.times,
            )
            self.times = times
        if task.length is None:
            task.length = Length(((task.loop.warmup, steps),))
        else:  # the learning rate of the next step is set already
            task.length = task.length.corrected(step + 1, steps)
        self._timed_from = step, monotonic()
        self._corrections = [share for share in self._corrections if share * steps > step]
        if trainer.is_global_zero:
            write_length(
                self.path, task.length, seconds_a_step=round(seconds, 4), validations=times
            )

    def _what_fits(self, step: int, seconds: float, seconds_a_step: float) -> tuple[int, int]:
        """Steps in all and validations of a run with so many steps over and seconds left."""

        def steps_in(time: float) -> int:
            return max(1, int(time * (1 - SPARE_SHARE) / max(seconds_a_step, 1e-6)))

        for times in range(self.times, 0, -1):
            for coming in range(times + 1):
                cost = coming * self.validation_seconds * _VALIDATION_SLACK
                if cost > min(self._room, seconds):
                    break
                total = step + steps_in(seconds - cost)
                if times - step * times // total <= coming:
                    return total, times  # those before this step are not coming
        return step + steps_in(seconds), 0

    def _must_stop(self, trainer: L.Trainer, step: int) -> bool:
        """Whether one more step would pass the deadline; the first process's clock decides."""
        if self.deadline is None:
            return False
        late = monotonic() + self._step_seconds > self.deadline - _FINISH_SECONDS
        if trainer.world_size == 1:
            return late
        return step % _AGREE_EVERY == 0 and bool(trainer.strategy.broadcast(late))

    def _stop_late(self, trainer: L.Trainer, task: SegmentationTask, step: int) -> None:
        if task.total_steps is None:
            raise TrainingFailed(
                "the time budget is over before the warm-up is",
                path=self.path.parent,
                found=f"{step} steps, each of {self._step_seconds:.3g} s",
                expected=f"more than training.warmup, {task.loop.warmup}",
                remedy="Give more training.minutes; what has been prepared need not be again.",
            )
        self.is_late = True
        _log.warning("time is up after %d steps of %d planned steps", step, task.total_steps)
        trainer.should_stop = True
