"""Removes what belongs to the earlier mask of a case before the case is done again.

A map, a mask of one label or a mask in another format would otherwise lie beside a mask that it
does not belong to. What a person edited since it was written stays, and is named.
"""

from __future__ import annotations

import glob
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import get_args

from medseg.batch.companions import PROBABILITIES, REGISTRATION, UNCERTAINTY, map_paths
from medseg.batch.entry import Entry
from medseg.batch.settings import Settings
from medseg.batch.task import Task
from medseg.checksums import sha256_of
from medseg.config import Measure
from medseg.files import is_file
from medseg.writers.layout import PER_LABEL, is_single, mask_name
from medseg.writers.move import ENDING as MOVE

#: Clocks of file servers differ from ours by so much.
_CLOCKS_S = 5.0

#: Of masks of one label.
_SINGLE_ENDINGS = (".nii.gz", ".nrrd", ".mha")


def remove_stale(
    tasks: Sequence[Task], before: Mapping[str, Entry], settings: Settings
) -> list[str]:
    """Remove what earlier runs wrote for cases that are about to be done again.

    Args:
        tasks: about to run.
        before: entries of the ledger as the run before left them.
        settings: output, format and layout.

    Returns:
        One line for each file that stays: edited since, or not to be removed.
    """
    new_name = partial(mask_name, format=settings.format, layout=settings.layout)
    remarks = []
    for task in tasks:
        entry = before.get(task.case)
        if entry is None:
            continue
        for path in filter(is_file, _companions(settings.output, entry, before)):
            if _was_edited(path, entry):
                remarks.append(f"{path.name} was edited since it was written; it stays")
                continue
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                remarks.append(f"{path.name} is of the mask before, and stays: {error.strerror}")
        if entry.written is not None and entry.written.name != new_name(task.case):
            old = settings.output / entry.written.name
            with suppress(OSError):
                if sha256_of(old) == entry.written.sha256:
                    old.unlink()
    _remove_empty_folders(settings.output)
    return remarks


def _companions(output: Path, entry: Entry, cases: Container[str]) -> Iterator[Path]:
    """Files beside the mask of a case that an earlier run wrote with it."""
    case = glob.escape(entry.case)
    named = [
        *(output / PROBABILITIES).glob(f"{case}_prob_*"),
        *(output / REGISTRATION).glob(f"{case}_*{MOVE}"),
    ]
    yield from (path for path in named if _owner(path.name, cases) == entry.case)
    singles = (output / PER_LABEL / entry.case).glob("*")  # a person's notes are no mask
    yield from (path for path in singles if path.name.endswith(_SINGLE_ENDINGS))
    yield from map_paths(output, entry.case, get_args(Measure))
    if entry.written is not None and "/" in entry.written.name:  # a BIDS derivative
        folder = (output / entry.written.name).parent
        yield from (path for path in folder.glob("*_mask.*") if is_single(path.name, entry.case))


def _owner(name: str, cases: Container[str]) -> str:
    """The case that a file is named after: of ``a`` and ``a_b``, ``a_b_T1.tfm`` is the latter's.

    >>> _owner("a_b_T1.tfm", {"a", "a_b"}), _owner("a_T1.tfm", {"a", "a_b"})
    ('a_b', 'a')
    """
    words = name.split("_")
    starts = ("_".join(words[:count]) for count in range(len(words) - 1, 0, -1))
    return next((start for start in starts if start in cases), "")


def _was_edited(path: Path, entry: Entry) -> bool:
    """Whether a file was written after its case had ended; of a killed run nothing is known."""
    try:
        modified = path.stat().st_mtime
    except OSError:
        return False
    return entry.finished is not None and modified > entry.finished + _CLOCKS_S


def _remove_empty_folders(output: Path) -> None:
    """The folders of companions, from the innermost on, where nothing is left in them."""
    for top in (PROBABILITIES, REGISTRATION, PER_LABEL, UNCERTAINTY):
        folders = sorted((path for path in (output / top).glob("*") if path.is_dir()), reverse=True)
        for folder in (*folders, output / top):
            with suppress(OSError):
                folder.rmdir()
