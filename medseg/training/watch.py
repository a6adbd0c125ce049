"""The callbacks that watch a run beside its steps, and what they know in the end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import lightning as L
from torch import nn

from medseg.manifests import Case
from medseg.model import Pace, Validation
from medseg.training.averaging import AveragedWeights
from medseg.training.budget import Schedule
from medseg.training.callbacks import Report, ShowProgress, WholeScanValidation
from medseg.training.checkpoints import Interruption, checkpoint_callback
from medseg.training.curves import Curves
from medseg.training.module import SegmentationTask
from medseg.training.saving import Outcome
from medseg.training.setup import Setup
from medseg.training.times import Times
from medseg.training.trackers import open_board
from medseg.training.validate import NetworkInTraining, ScoredCase, picture_of, score_cases

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Watch:
    """What happens beside the steps, and what is known of it in the end."""

    averaged: AveragedWeights
    times: Times
    validation: WholeScanValidation | None
    callbacks: tuple[L.Callback, ...]

    def outcome(self, setup: Setup, task: SegmentationTask) -> Outcome:
        """Pace and validation, for the model card."""
        keep = setup.config.training.keep
        pace = Pace(
            seconds_a_step=round(self.times.seconds_a_step(), 4),
            data_wait=round(self.times.data_wait(), 4),
            processes=setup.run.world.size,
            parts=task.parts,
        )
        seen = self.validation
        if seen is None or seen.latest is None or seen.best is None:
            if keep == "best":
                _log.warning("no validation came to its end: the weights of the last step are kept")
            return Outcome(pace)
        return Outcome(
            pace, Validation(kept=keep, cases=seen.cases, last=seen.latest, best=seen.best)
        )


def watch_run(setup: Setup, report: Report) -> Watch:
    """The callbacks, in their order after each step; only the first process writes and shows."""
    loop, run = setup.config.training, setup.run
    deadline = None if loop.minutes is None else run.started + 60 * loop.minutes
    averaged, times = AveragedWeights(loop.ema, run.device), Times()
    held_out = setup.data.validation
    rows = tuple(case for case, _ in held_out[: loop.validation_cases])
    # learning rules asks for masks of the whole fold once more
    trailing = len(held_out) / len(rows) if rows and loop.rules == "learn" else 0.0
    wanted = loop.validations if rows else 0
    schedule = Schedule(run.schedule, deadline, wanted, trailing)
    opened = partial(open_board, run.folder, setup.config)
    curves = Curves(run.folder, times.data_wait, run.draw, open_board=opened)
    validation = None
    if rows:
        validation = WholeScanValidation(
            partial(_score, setup, rows),
            partial(picture_of, setup.cohort),
            averaged,
            curves,
            schedule,
            cases=len(rows),
            best_path=run.best,
        )
    shown = [curves, *([validation] if validation else []), ShowProgress(report, times, validation)]
    return Watch(
        averaged,
        times,
        validation,
        (
            times,
            schedule,
            *(shown if run.world.first else []),
            Interruption(run.checkpoint),
            checkpoint_callback(run.checkpoint, loop.checkpoint_minutes),
        ),
    )


def _score(
    setup: Setup, rows: Sequence[Case], network: nn.Module, goes_on: Callable[[], bool]
) -> list[ScoredCase]:
    model = NetworkInTraining(
        network,
        setup.cohort.labels,
        setup.config.dims,
        setup.slice_axis,
        setup.config.prepare,
        setup.infer,
        setup.config.postprocess,
    )
    return score_cases(model, setup.cohort, rows, setup.run.device, goes_on)
