"""Volumes and Dice of masks that no batch measured: read in the background, kept for next time."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from medseg.batch.task import Flag
from medseg.errors import MedsegError
from medseg.labels import LabelTable
from medseg.manifests.reading import named_truth
from medseg.readers.labels import needs_image, read_labels
from medseg.review.desk import Desk
from medseg.review.items import Item
from medseg.review.raters import mean_dice

#: The list is put in order again after so many cases.
_BATCH = 50


def survey(desk: Desk) -> threading.Thread:
    """Measure in the background what is not known yet; the list takes it in as it comes."""
    wanted = [item for item in desk.items() if not item.volumes_ml or _lacks_dice(item)]
    thread = threading.Thread(target=_measure_all, args=(desk, wanted), daemon=True)
    thread.start()
    return thread


def _lacks_dice(item: Item) -> bool:
    return item.has_truth and item.dice is None


def _measure_all(desk: Desk, items: list[Item]) -> None:
    measured: dict[str, Item] = {}
    for number, item in enumerate(items, start=1):
        measured[item.case] = _known(desk, item, partial(measure, item, desk.review.labels))
        if number % _BATCH == 0 or number == len(items):
            desk.learn(measured)


def _known(desk: Desk, item: Item, measure_one: Callable[[], Item]) -> Item:
    """What an earlier review measured of the same file, else measured now."""
    try:
        status = item.mask.stat()
    except OSError:
        return item
    key = f"measured {item.mask.name} {status.st_size} {status.st_mtime_ns} {_lacks_dice(item)}"
    text = desk.store.recall(key)
    if text is None:
        found = measure_one()
        facts = {"volumes_ml": dict(found.volumes_ml), "dice": found.dice}
        desk.store.remember(key, json.dumps(facts))
    else:
        facts = json.loads(text)
        found = replace(item, volumes_ml=facts["volumes_ml"])
        found = replace(found, dice=facts["dice"]) if item.dice is None else found
    empty = found.volumes_ml and not any(found.volumes_ml.values())
    if empty and not any(flag.kind == "empty" for flag in found.flags):
        flag = Flag("empty", "", "the mask is empty")
        found = replace(found, flags=(*found.flags, flag), suspicion=found.suspicion + 10)
    return found


def measure(item: Item, labels: LabelTable) -> Item:
    """The case with the volumes of its labels and, where the truth is known, its mean Dice."""
    try:
        if needs_image(item.mask):
            return item
        mask = read_labels(item.mask, labels=labels).named(labels)
    except MedsegError as error:
        flag = Flag("unreadable", "", error.problem)
        return replace(item, flags=(*item.flags, flag), suspicion=item.suspicion + 20)
    counts = np.bincount(mask.data.reshape(-1), minlength=max(labels.values) + 1)
    volumes = {one.name: int(counts[one.value]) * mask.geometry.voxel_ml for one in labels.labels}
    found = replace(item, volumes_ml=volumes)
    if not _lacks_dice(item) or item.row is None or item.row.case.label is None:
        return found
    try:
        truth = read_labels(item.row.case.label, labels=item.row.cohort.labels)
        truth = named_truth(item.row.cohort, item.row.case, truth).named(labels)
    except MedsegError:
        return found
    if not truth.geometry.fits(mask.geometry):
        return found
    return replace(found, dice=mean_dice(truth.data, mask.data))
