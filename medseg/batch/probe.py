"""The time a batch will take, from its windows and one timed window, before the first case."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection

from medseg.batch.models import ModelSegmenter
from medseg.batch.preflight import voxels_of
from medseg.batch.task import Task
from medseg.batch.trial import Trial, trial_of
from medseg.errors import MedsegError
from medseg.geometry import Geometry
from medseg.model import Model


def window_seconds(
    segmenter: ModelSegmenter, model: Model, *, limit_s: float = 300.0
) -> float | None:
    """Time of one window, where nothing else is going to run.

    A process of its own loads the model, so that this one stays small.

    Args:
        segmenter: the models on their device.
        model: the first of them.
        limit_s: how long it may take; ``None`` comes back beyond.

    Raises:
        MedsegError: the model cannot be loaded.
    """
    trial = trial_of(model)
    if trial is None:
        return None
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_time, args=(theirs, segmenter, trial), daemon=True)
    process.start()
    theirs.close()
    try:
        answer: float | MedsegError | None = ours.recv() if ours.poll(limit_s) else None
    except EOFError:
        return None
    finally:
        process.kill()
        process.join()
    if isinstance(answer, MedsegError):
        raise answer
    return answer


def windows_of(tasks: Sequence[Task], model: Model) -> int:
    """Windows that the scans will be cut into; 0 where the model's card leaves them open."""
    trial = trial_of(model)
    return 0 if trial is None else sum(_windows(task, model, trial.shape[1:]) for task in tasks)


def _windows(task: Task, model: Model, window: Sequence[int]) -> int:
    """Windows over a scan; a cube of its voxels where its shape is unknown before it is read."""
    from medseg.transforms.prepare import grid_for  # loads torch

    geometry: Geometry | None = getattr(task.scan, "geometry", None)
    if geometry is not None:
        shape: Sequence[int] = grid_for(geometry, model.prepare).shape
    else:
        shape = [max(1, round(voxels_of(task) ** (1 / 3)))] * 3
    share = 1 - model.infer.overlap
    return math.prod(
        1 if size <= width else math.ceil((size - width) / max(1, width * share)) + 1
        for size, width in zip(shape, window, strict=True)
    )


def _time(connection: Connection, segmenter: ModelSegmenter, trial: Trial) -> None:
    try:
        connection.send(trial.seconds(segmenter.load()))
    except MedsegError as error:
        connection.send(error)
