"""Who watches a run?  The callbacks beside its steps, and what they know in the end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import lightning as L
import torch
from torch import nn

from medseg.config import TrainConfig
from medseg.manifests import Case, Cohort
from medseg.model import Pace, Validation
from medseg.training.budget import Schedule
from medseg.training.callbacks import Progress, Report, WholeScanValidation
from medseg.training.checkpoints import Interruption, checkpoint_callback
from medseg.training.curves import Curves
from medseg.training.data import TrainingData, slice_axis
from medseg.training.module import AveragedWeights, SegmentationTask
from medseg.training.run import Run
from medseg.training.saving import Outcome, infer_config
from medseg.training.times import Times
from medseg.training.validate import NetworkInTraining, ScoredCase, picture_of, score_cases

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Watch:
    """What happens beside the steps, and what is known of it in the end."""

    averaged: AveragedWeights
    times: Times
    validation: WholeScanValidation | None
    callbacks: tuple[L.Callback, ...]

    def outcome(self, task: SegmentationTask, config: TrainConfig, run: Run) -> Outcome:
        """For the model card."""
        pace = Pace(
            seconds_a_step=round(self.times.seconds_a_step(), 4),
            data_wait=round(self.times.data_wait(), 4),
            processes=run.world.size,
            parts=task.parts,
        )
        seen = self.validation
        if seen is None or seen.latest is None or seen.best is None:
            if config.training.keep == "best":
                _log.warning("no validation came to its end: the weights of the last step are kept")
            return Outcome(pace)
        cases, keep = seen.cases, config.training.keep
        return Outcome(pace, Validation(kept=keep, cases=cases, last=seen.latest, best=seen.best))


def watch_run(
    config: TrainConfig, cohort: Cohort, data: TrainingData, run: Run, report: Report
) -> Watch:
    """The callbacks, in their order after each step; only the first process writes and shows."""
    loop = config.training
    deadline = None if loop.minutes is None else run.started + 60 * loop.minutes
    averaged, times = AveragedWeights(loop.ema), Times()
    rows = tuple(case for case, _ in data.validation[: loop.validation_cases])
    # learning rules asks for masks of the whole fold once more
    trailing = len(data.validation) / len(rows) if rows and loop.rules == "learn" else 0.0
    wanted = loop.validations if rows else 0
    schedule = Schedule(run.schedule, deadline, wanted, trailing)
    curves = Curves(run.folder, times.data_wait, run.draw)
    validation = None
    if rows:
        validation = WholeScanValidation(
            partial(_score, config, cohort, data, run.device, rows),
            partial(picture_of, cohort),
            averaged,
            curves,
            schedule,
            cases=len(rows),
            best_path=run.best,
        )
    shown = [curves, *([validation] if validation else []), Progress(report, times, validation)]
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
    config: TrainConfig,
    cohort: Cohort,
    data: TrainingData,
    device: torch.device,
    rows: Sequence[Case],
    network: nn.Module,
    goes_on: Callable[[], bool],
) -> list[ScoredCase]:
    model = NetworkInTraining(
        network,
        cohort.labels,
        config.dims,
        slice_axis(config, data.train),
        config.prepare,
        infer_config(config, data),
        config.postprocess,
    )
    return score_cases(model, cohort, rows, device, goes_on)
