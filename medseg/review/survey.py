"""Before anybody asks: the first case is opened, then masks are measured that no batch measured."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np

from medseg.batch.task import Flag
from medseg.errors import MedsegError
from medseg.labels import LabelTable
from medseg.manifests.reading import file_of, named_truth
from medseg.metrics import dice_by_label
from medseg.readers.labels import needs_image, read_labels
from medseg.readers.parts import state_of
from medseg.review.desk import Desk
from medseg.review.edits import label_counts
from medseg.review.items import Item, Truth
from medseg.volume import LabelMap

log = logging.getLogger(__name__)

#: The list is put in order again after so many cases.
_BATCH = 50


@contextmanager
def surveyed(desk: Desk) -> Iterator[None]:
    """Open the first case and measure what is not known yet; the list takes it in as it comes.

    When the block ends, the mask that is read is finished and the others are left for next time:
    nobody uses the desk's database afterwards.
    """
    enough = threading.Event()
    wanted = [item for item in desk.items() if not item.volumes_ml or _lacks_dice(item)]
    thread = threading.Thread(target=_get_ready, args=(desk, wanted, enough), daemon=True)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def _get_ready(desk: Desk, wanted: list[Item], enough: threading.Event) -> None:
    first = next((row["case"] for row in desk.overview()["cases"] if not row["verdict"]), "")
    with suppress(MedsegError):  # whoever looks at it will be told
        if first:
            desk.opened(first)
    measure_all(desk, wanted, enough)


def measure_all(desk: Desk, items: list[Item], enough: threading.Event) -> None:
    """Measure cases one after the other, until there are no more or it is `enough`."""
    measured: dict[str, Item] = {}
    for number, item in enumerate(items, start=1):
        if enough.is_set():
            return
        try:
            measured[item.case] = _known(desk, item)
        except MedsegError as error:  # the database is busy or full: the page still works
            log.warning("%s was not measured: %s", item.case, error)
        if number % _BATCH == 0 or number == len(items):
            desk.learn(measured)


def _lacks_dice(item: Item) -> bool:
    return item.has_truth and item.dice is None


def _known(desk: Desk, item: Item) -> Item:
    """What an earlier review measured of the same files under the same labels, else measured now.

    What could not be read is not kept: it may be there next time.
    """
    key = _key(item, desk.review.labels)
    text = desk.store.recall(key) if key else None
    if text is not None:
        facts = json.loads(text)
        dice = facts["dice"] if item.dice is None else item.dice
        return _with_empty_flag(replace(item, volumes_ml=facts["volumes_ml"], dice=dice))
    found = measure(item, desk.review.labels)
    if key and found.volumes_ml and (found.dice is not None or not _lacks_dice(item)):
        facts = {"volumes_ml": dict(found.volumes_ml), "dice": found.dice}
        desk.store.remember(key, json.dumps(facts))
    return _with_empty_flag(found)


def _key(item: Item, labels: LabelTable) -> str:
    """What the measures depend on: both files, what their values mean; empty without a mask."""
    row = item.row
    truth: list[Any] = []
    try:
        mask = [item.mask.name, state_of(item.mask)]
        if _lacks_dice(item) and row is not None and row.case.label is not None:
            card = row.cohort.labels.to_card()
            label = file_of(row.case.label)
            truth = [str(row.case.label), state_of(label), card, row.case.labelled]
            truth.append(sorted(row.cohort.remap.items()))
    except OSError:
        return ""
    text = json.dumps([mask, labels.to_card(), truth])
    return f"measured {hashlib.sha256(text.encode()).hexdigest()}"


def _with_empty_flag(item: Item) -> Item:
    empty = item.volumes_ml and not any(item.volumes_ml.values())
    if not empty or any(flag.kind == "empty" for flag in item.flags):
        return item
    flag = Flag("empty", "", "the mask is empty")
    return replace(item, flags=(*item.flags, flag), suspicion=item.suspicion + 10)


def measure(item: Item, labels: LabelTable) -> Item:
    """The case with the volumes of its labels and, where the truth is known, its mean Dice."""
    try:
        if needs_image(item.mask):
            return item
        mask = read_labels(item.mask, labels=labels).named(labels)
    except MedsegError as error:
        flag = Flag("unreadable", "", error.problem)
        return replace(item, flags=(*item.flags, flag), suspicion=item.suspicion + 20)
    counts = label_counts(mask.data)
    volumes = {one.name: int(counts[one.value]) * mask.geometry.voxel_ml for one in labels.labels}
    found = replace(item, volumes_ml=volumes)
    if not _lacks_dice(item) or item.row is None:
        return found
    return replace(found, dice=_mean_dice(item.row, mask, labels))


def _mean_dice(row: Truth, mask: LabelMap, labels: LabelTable) -> float | None:
    """Mean over the labels that the truth was drawn for; ``None`` where nothing can be said."""
    if row.case.label is None:
        return None
    try:
        truth = read_labels(row.case.label, labels=row.cohort.labels)
        truth = row.named(named_truth(row.cohort, row.case, truth), labels)
    except MedsegError:
        return None
    if not truth.geometry.fits(mask.geometry):
        return None
    drawn = {one.name: one.value for one in labels.labels if row.case.annotates(one.name)}
    ignore = None if truth.labels is None else truth.labels.ignore
    scores = dice_by_label(truth.data, mask.data, drawn, ignore=ignore)
    return float(np.mean(list(scores.values()))) if scores else None
