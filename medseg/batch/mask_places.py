"""Cases whose mask would replace a user's file, or the mask of another case."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import get_args

from medseg.batch.companions import LOGS, PROBABILITIES, map_paths, picture_names
from medseg.batch.entry import Entry
from medseg.batch.inputs import input_files
from medseg.batch.resume import is_whole_mask
from medseg.batch.settings import Settings
from medseg.batch.taken import taken
from medseg.batch.task import Task
from medseg.config import Measure
from medseg.writers.guard import FOREIGN
from medseg.writers.layout import PER_LABEL, mask_name


def occupied_places(
    tasks: Sequence[Task], before: Mapping[str, Entry], settings: Settings
) -> dict[str, str]:
    """Case to reason, of those whose mask or what goes with it would replace a user's file.

    Args:
        tasks: about to run.
        before: entries of the ledger as the run before left them.
        settings: output, format and layout; with `overwrite`, foreign files may be replaced.
    """
    output = settings.output
    reasons = taken(
        tasks,
        before,
        output,
        name_of=partial(mask_name, format=settings.format, layout=settings.layout),
        is_whole=is_whole_mask,
        inputs=(path for task in tasks for path in input_files(task)),
        overwrite=settings.overwrite,
    )
    reasons |= _same_place(tasks, settings)
    for task in tasks if not settings.overwrite else ():
        foreign = [] if task.case in before else _beside(output, task.case)
        if foreign:
            reasons.setdefault(
                task.case,
                f"{FOREIGN} ({', '.join(foreign)}). "
                "Choose another --output, or give --overwrite to replace it.",
            )
    return reasons


def _same_place(tasks: Sequence[Task], settings: Settings) -> dict[str, str]:
    """Case to reason, of those whose mask another case of this run has the name of."""
    cases: dict[str, str] = {}
    reasons = {}
    for task in tasks:
        name = mask_name(task.case, format=settings.format, layout=settings.layout).casefold()
        first = cases.setdefault(name, task.case)
        if first != task.case:
            reasons[task.case] = f"its mask would have the name of that of {first}"
    return reasons


def _beside(output: Path, case: str) -> list[str]:
    """Files that would be written with a mask, where they are there already."""
    single = (*(output / name for name in picture_names(case)), output / LOGS / f"{case}.log")
    several = (output / PROBABILITIES).glob(f"{glob.escape(case)}_prob_*")
    labels = (output / PER_LABEL / case).glob("*")
    maps = map_paths(output, case, get_args(Measure))
    paths = (*single, *several, *labels, *maps)
    return [path.relative_to(output).as_posix() for path in paths if path.exists()]
