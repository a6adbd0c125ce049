"""How long will a batch take, before its first case is done?  One window is timed."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

import numpy as np

from medseg.batch.models import ModelSegmenter
from medseg.batch.preflight import voxels_of
from medseg.batch.task import Task
from medseg.geometry import Geometry, working_grid
from medseg.model import Model
from medseg.volume import Volume


def probe_seconds(
    segmenter: ModelSegmenter, model: Model, tasks: Sequence[Task], *, limit_s: float = 300.0
) -> float | None:
    """Time in the network for cases of which none was done yet, by the windows they will need.

    A scan of the size of one window is segmented in a process of its own, so that this one
    stays small.

    Args:
        segmenter: the models on their device.
        model: the first of them.
        tasks: still to do.
        limit_s: how long the probe may take; ``None`` comes back beyond.
    """
    window = _window(model)
    if window is None:
        return None
    spacing = [mm or 1.0 for mm in model.prepare.spacing_mm]
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    channels = len(model.card.channels)
    arguments = (theirs, segmenter, (channels, *window), spacing)
    process = context.Process(target=_probe, args=arguments, daemon=True)
    process.start()
    theirs.close()
    try:
        seconds: float | None = ours.recv() if ours.poll(limit_s) else None
    except EOFError:
        return None
    finally:
        process.kill()
        process.join()
    if seconds is None:
        return None
    return seconds * sum(_windows(task, model, window) for task in tasks)


def _window(model: Model) -> tuple[int, int, int] | None:
    """Voxels of a window along R, A, S; ``None`` where the card leaves it open."""
    sizes = list(model.infer.window)
    if model.dims == 2 and model.slice_axis is not None:
        sizes.insert(model.slice_axis, 1)
    return (sizes[0], sizes[1], sizes[2]) if len(sizes) == 3 else None


def _windows(task: Task, model: Model, window: Sequence[int]) -> int:
    """Windows over a scan; a cube of its voxels where its shape is unknown before it is read."""
    geometry: Geometry | None = getattr(task.scan, "geometry", None)
    if geometry is not None:
        prepare = model.prepare
        shape: Sequence[int] = working_grid(
            geometry, prepare.spacing_mm, alignment=prepare.alignment
        ).shape
    else:
        shape = [max(1, round(voxels_of(task) ** (1 / 3)))] * 3
    share = 1 - model.infer.overlap
    return math.prod(
        1 if size <= width else math.ceil((size - width) / max(1, width * share)) + 1
        for size, width in zip(shape, window, strict=True)
    )


def _probe(
    connection: Connection,
    segmenter: ModelSegmenter,
    shape: tuple[int, int, int, int],
    spacing_mm: Sequence[float],
) -> None:
    """Send the seconds that one window takes, the second time it is asked for."""
    segment = segmenter.load()
    noise = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    volume = Volume(noise, Geometry(shape[1:], np.diag([*spacing_mm, 1.0])))
    segment(volume)
    started = time.monotonic()
    segment(volume)
    connection.send(time.monotonic() - started)
