"""Training: prepared cases, a stream of patches, the loop on Lightning, the model folder."""

from __future__ import annotations

from medseg.training.curves import read_curves
from medseg.training.folds import train_folds
from medseg.training.loop import train
from medseg.training.origin import check_start
from medseg.training.processes import World, join_processes, leave_processes
from medseg.training.run import Run, begin_run, hold_run

__all__ = [
    "Run",
    "World",
    "begin_run",
    "check_start",
    "hold_run",
    "join_processes",
    "leave_processes",
    "read_curves",
    "train",
    "train_folds",
]
