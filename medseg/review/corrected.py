"""Corrected masks: the scan's twin, with a record of who changed what in which prediction."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medseg import __version__
from medseg.checksums import sha256_of
from medseg.names import safe_name
from medseg.review.edits import label_counts
from medseg.review.opened import Opened, drawn
from medseg.review.store import Corrected, Store, now
from medseg.writers import write_labels
from medseg.writers.atomic import atomic_path

FOLDER = "corrected"


def save(case: Opened, folder: Path, store: Store, rater: str, run: Mapping[str, Any]) -> Corrected:
    """Write ``corrected/<case>.nii.gz`` and its provenance ``corrected/<case>.json``.

    Where another rater's mask stands there, this one goes to ``corrected/<rater>/``.

    Args:
        case: as drawn.
        folder: the reviewed one.
        store: remembers the file.
        rater: who drew.
        run: what ``run.yaml`` says of the models.

    Raises:
        BadOutput: the file cannot be written, or was edited by another program since.
    """
    name = name_for(case.item.case, rater, store)
    with case.lock:
        mask = drawn(case)
        tools = Counter(edit.tool for edit, _ in case.edits)
        last = case.edits[-1][0].number if case.edits else 0
    path = folder / name
    write_labels(mask, path)
    changed = mask.data != case.prediction
    saved = Corrected(
        case=case.item.case,
        rater=rater,
        name=name,
        sha256=sha256_of(path),
        mask_sha256=case.mask_sha256,
        last_edit=last,
        voxels_changed=int(np.count_nonzero(changed)),
        time=now(),
    )
    _write_provenance(path, case, saved, tools, run)
    store.keep_corrected(saved)
    return saved


def name_for(case: str, rater: str, store: Store) -> str:
    """The file of a rater's corrected mask, relative to the folder; of no other rater's."""
    known = store.corrected()
    plain = f"{FOLDER}/{case}.nii.gz"
    if (case, rater) in known:
        return known[case, rater].name
    if all(one.name != plain for one in known.values()) and store.claim(plain, rater):
        return plain
    return f"{FOLDER}/{safe_name(rater)}/{case}.nii.gz"


def _write_provenance(
    path: Path, case: Opened, saved: Corrected, tools: Mapping[str, int], run: Mapping[str, Any]
) -> None:
    before, after = label_counts(case.prediction), case.counts()
    content = {
        "case": saved.case,
        "rater": saved.rater,
        "saved": saved.time,
        "mask_sha256": saved.sha256,
        "prediction_sha256": saved.mask_sha256,
        "models": run.get("models") or [],
        "voxels_changed": saved.voxels_changed,
        "voxels": {
            label.name: {"before": int(before[label.value]), "after": int(after[label.value])}
            for label in case.labels.labels
        },
        "edits": dict(tools),
        "medseg": __version__,
    }
    with atomic_path(path.with_name(path.name.removesuffix(".nii.gz") + ".json")) as temporary:
        temporary.write_text(
            json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
