"""What happens after a step besides: whole-scan validation with pictures, and progress."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import lightning as L
import torch

from medseg.training.averaging import AveragedWeights
from medseg.training.budget import Schedule
from medseg.training.checkpoints import read_best, write_best
from medseg.training.curves import Curves, read_rows
from medseg.training.module import task_of
from medseg.training.times import Times
from medseg.training.validate import ScoredCase, worst_median_best
from medseg.writers.atomic import atomic_path

_log = logging.getLogger(__name__)

#: Largest share of the time that goes into pictures of validation cases; the last are drawn
#: in any case.
_PICTURE_SHARE = 0.02

#: Steps between looks at the loss: each makes a GPU wait for all that it was told.
_LOOK_EVERY = 10


class Report(Protocol):
    """How a run tells how far it is: steps done, steps in all (if known), and facts by name."""

    def __call__(self, done: int, total: int | None, **facts: object) -> None:
        """Show it."""


class WholeScanValidation(L.Callback):
    """Scores the averaged weights on whole scans of the validation fold, evenly over the run.

    Keeps the best weights so far in `best_path`, and pictures of the worst, the median and the
    best case in the folder ``pictures``.

    Args:
        score: network, and whether to go on with the next scan, to scored cases.
        draw: (case, step) to a PNG.
        averaged: gives the network.
        curves: gets the scores.
        schedule: knows how often, the last at the end, and how long; gets the time it took.
        cases: how many are scored each time.
        best_path: where the best weights go.
    """

    def __init__(
        self,
        score: Callable[[torch.nn.Module, Callable[[], bool]], Sequence[ScoredCase]],
        draw: Callable[[ScoredCase, int], bytes],
        averaged: AveragedWeights,
        curves: Curves,
        schedule: Schedule,
        *,
        cases: int,
        best_path: Path,
    ) -> None:
        self.score = score
        self.draw = draw
        self.averaged = averaged
        self.curves = curves
        self.schedule = schedule
        self.cases = cases
        self.best_path = best_path
        self.best: tuple[int, float] | None = None
        self.latest: tuple[int, float] | None = None
        self._drawing_seconds = 0.0
        self._started = monotonic()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """What an interrupted run found; what it found after its checkpoint does not count."""
        del pl_module
        self._started = monotonic()
        best = read_best(self.best_path)
        self.best = best if best is not None and best[0] <= trainer.global_step else None
        scored = [row for row in read_rows(self.curves.table.path) if row["dice"]]
        if scored:
            self.latest = int(scored[-1]["step"]), float(scored[-1]["dice"])

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        """Validate when it is time; but not beyond the deadline."""
        del args
        task, step = task_of(pl_module), trainer.global_step
        if not self._is_due(step, task.total_steps, task.loop.warmup):
            return
        if not self.schedule.allows_validation:
            if step == task.total_steps:
                _log.warning("no time is left for the last validation")
            return
        started = monotonic()
        goes_on = self.schedule.patience(is_timed=task.total_steps is None)
        scored = self._validate(step, goes_on, is_last=step == task.total_steps)
        task.train()
        self.schedule.validated(monotonic() - started, len(scored) / self.cases)

    def _is_due(self, step: int, total: int | None, warmup: int) -> bool:
        """Evenly over the run; and once in the warm-up of a time budget, to time it."""
        times = self.schedule.times
        if step == 0 or times == 0:
            return False
        if total is None:
            return step == max(1, warmup - 1)
        return step * times // total != (step - 1) * times // total

    def _validate(
        self, step: int, goes_on: Callable[[], bool], *, is_last: bool
    ) -> Sequence[ScoredCase]:
        """Score; where time was up before the last scan, the mean would be of other cases."""
        network = self.averaged.network()
        scored = self.score(network, goes_on)
        if len(scored) < self.cases:
            return scored
        dice = self.curves.add_validation(step, {case.case.case: case.dice for case in scored})
        self.latest = step, dice
        if self.best is None or dice > self.best[1]:
            self.best = step, dice
            write_best(self.best_path, network, step, dice)
        if is_last or self._has_spare_time():
            self._draw_cases(scored, step)
        self.curves.redraw()
        return scored

    def _draw_cases(self, scored: Sequence[ScoredCase], step: int) -> None:
        started = monotonic()
        for name, case in worst_median_best(scored).items():
            picture = self.draw(case, step)
            path = self.curves.folder / "pictures" / f"step-{step:06d}_{name}_{case.case.case}.png"
            with atomic_path(path) as temporary:
                temporary.write_bytes(picture)
        self._drawing_seconds += monotonic() - started

    def _has_spare_time(self) -> bool:
        return self._drawing_seconds < _PICTURE_SHARE * (monotonic() - self._started)


class ShowProgress(L.Callback):
    """Says how far the run is, and which share of the time waited for data."""

    def __init__(
        self, report: Report, times: Times, validation: WholeScanValidation | None
    ) -> None:
        self.report = report
        self.times = times
        self.validation = validation
        self._facts: dict[str, object] = {}

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any
    ) -> None:
        """The step is over."""
        del args
        task, step = task_of(pl_module), trainer.global_step
        if not self._facts or step % _LOOK_EVERY == 0 or step == task.total_steps:
            self._facts = {"loss": f"{float(outputs['loss']):.3f}"}
            if int(task.skipped):
                self._facts["skipped"] = int(task.skipped)
        facts = dict(self._facts)
        if self.validation is not None and self.validation.latest is not None:
            facts["dice"] = f"{self.validation.latest[1]:.3f}"
        facts["data_wait"] = f"{self.times.data_wait():.1%}"
        self.report(step, task.total_steps, **facts)
