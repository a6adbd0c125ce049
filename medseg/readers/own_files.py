"""Finds the files that medseg itself left among a folder's scans: masks, and converted twins."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Set
from contextlib import closing
from pathlib import Path

from medseg.errors import MedsegError
from medseg.files import is_file
from medseg.tables import read_csv

#: What ``medseg segment`` leaves beside masks, and the folders of what belongs to them.
_BESIDE_MASKS = frozenset(("cases.csv", "labels.yaml", "run.yaml"))
_OF_MASKS = frozenset(("corrected", "per_label", "probabilities", "registration", "uncertainty"))
_MASK_ENDINGS = (".nii.gz", ".seg.nrrd", ".nrrd", ".mha", ".dcm")

#: What ``medseg convert`` leaves beside volumes.
_BESIDE_VOLUMES = frozenset(("scans.csv", "ledger.sqlite"))
_VOLUME_ENDING = ".nii.gz"


def own_files(folder: str, names: Set[str], root: Path) -> frozenset[str]:
    """Names of what medseg left in a folder and that is no scan of its own.

    Masks, and the folders beside them, are none. A volume of ``medseg convert`` is none as long
    as the scan that it was made of lies below `root`, too: the two are one scan.

    Args:
        folder: where the files lie.
        names: of everything in it.
        root: where scans are looked for.
    """
    if names >= _BESIDE_MASKS:
        return frozenset(_masks(folder)) | _OF_MASKS
    if names >= _BESIDE_VOLUMES:
        return frozenset(_converted(folder, os.path.realpath(root)))
    return frozenset()


def _masks(folder: str) -> Iterator[str]:
    try:
        _, rows = read_csv(Path(folder) / "cases.csv")
    except MedsegError:
        return
    cases = [row.cells.get("case") for row in rows if row.cells.get("status") == "done"]
    for case in cases:
        yield from (f"{case}{ending}" for ending in _MASK_ENDINGS)


def _converted(folder: str, root: str) -> Iterator[str]:
    """Volumes whose scans still lie below the root, by the ledger, which knows whole paths."""
    query = "SELECT \"case\", place FROM cases WHERE state = 'done'"
    path = Path(folder, "ledger.sqlite")
    if not is_file(path):
        return
    address = f"{path.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True)) as ledger:
            rows = ledger.execute(query).fetchall()
    except (sqlite3.Error, ValueError):
        return
    for case, place in rows:
        try:
            is_there = os.path.exists(place)  # noqa: PTH110
        except ValueError:
            continue
        if is_there and Path(os.path.realpath(place)).is_relative_to(root):
            yield f"{case}{_VOLUME_ENDING}"
