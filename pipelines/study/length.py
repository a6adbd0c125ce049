"""Settles how many steps every run of a study takes: one number for all, kept with the results."""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch

from medseg.errors import BadConfig
from study.cells import BY_NAME, REFERENCE
from study.cohorts import StudyCohort
from study.results import write_json
from study.stream import Stream
from study.training import built, train

#: Steps that are timed, after as many to warm up.
TIMED = 8


def settled_steps(
    file: Path,
    cohort: StudyCohort,
    *,
    steps: int | None,
    minutes: float | None,
    usual: int,
    device: torch.device,
) -> int:
    """Steps of every run: as given, or as many as the U-Net makes in the minutes, or the usual.

    Args:
        file: remembers the number; every run of one folder has the same.
        cohort: on which the U-Net is timed.
        steps: as given.
        minutes: as given, a run.
        usual: where neither was given.
        device: of the runs.

    Raises:
        BadConfig: the folder holds runs of another length.
    """
    kept = json.loads(file.read_text(encoding="utf-8"))["steps"] if file.is_file() else None
    if kept is not None and steps in (None, kept):
        return int(kept)
    if kept is not None:
        raise BadConfig(
            "the study has runs of another length",
            path=file,
            found=f"{kept} steps",
            expected=f"{steps} steps",
            remedy="Give another --output, or leave --steps out.",
        )
    chosen = steps or (usual if minutes is None else _within(minutes, cohort, device))
    write_json(file, {"steps": chosen})
    return chosen


def _within(minutes: float, cohort: StudyCohort, device: torch.device) -> int:
    """As many steps as the U-Net makes in the minutes on this device."""
    stream = Stream(cohort, 0, device)
    network = built(BY_NAME[REFERENCE], cohort, 0)
    train(network, stream, TIMED)
    started = time.perf_counter()
    train(network, stream, TIMED)
    return max(1, round(60 * minutes * TIMED / (time.perf_counter() - started)))
