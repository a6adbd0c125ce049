"""Where a review found masks, scans and truths: kept beside its verdicts, so that others find them.

``medseg cohort add`` learns from here which scan belongs to a mask.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from medseg.labels import LabelTable
from medseg.review.items import Places, cohort_of
from medseg.review.store import Store

_KEY = "places"


@dataclass(frozen=True)
class Named:
    """What the user named when the review was opened.

    Attributes:
        masks: the folder of masks.
        labels: what their values mean.
        scans: a folder of scans, or ``None``.
        truth: a card or true masks, or ``None``.
        root: where the card's paths start, or ``None``.
    """

    masks: Path
    labels: LabelTable
    scans: Path | None = None
    truth: Path | None = None
    root: Path | None = None


def remember_places(store: Store, named: Named) -> None:
    """Keep what was named; a scan or truth that was named earlier stays known."""
    known = json.loads(store.recall(_KEY) or "{}")
    paths = {
        key: str(path.resolve())
        for key in ("masks", "scans", "truth", "root")
        if (path := getattr(named, key)) is not None
    }
    known |= {**paths, "labels": named.labels.to_card()}
    store.remember(_KEY, json.dumps(known))


def recalled_places(store: Store, folder: Path) -> Places:
    """What was named when the folder was reviewed; what is no longer there is left out.

    Args:
        store: of the review.
        folder: that holds it, and the masks where nothing was kept.

    Raises:
        MedsegError: the card of the truths cannot be read.
    """
    known = json.loads(store.recall(_KEY) or "{}")
    paths = {key: Path(text) for key, text in known.items() if key != "labels"}
    here = {key: path for key, path in paths.items() if path.exists()}
    labels = LabelTable.from_card(known["labels"]) if "labels" in known else None
    truth = here.get("truth")
    cohort = None if truth is None else cohort_of(truth, labels, here.get("root"))
    return Places(here.get("masks", folder), here.get("scans"), cohort, labels)
