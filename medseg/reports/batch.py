"""The page of a batch: which masks a person should look at, and what came out.

Cases come sorted by suspicion: each flag counts as much as it is rare in this batch, so that a
flag that every second case has does not hide the one that a single case has.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from medseg import __version__
from medseg.batch.companions import picture_names
from medseg.batch.entry import Entry
from medseg.batch.slices import Column, column_of
from medseg.batch.suspicion import suspicion
from medseg.batch.task import State
from medseg.labels import LabelTable
from medseg.labels.colours import distinct_colours
from medseg.reports.page import write_page

NAME = "report.html"
#: Names of files in reasons, which may tell more than the case id.
_FILE = re.compile(
    r"\S*/\S*[^\s:;,.)]|[^\s(]+\.(?:dcm|nii|gz|nrrd|nhdr|mha|mhd|raw|img|hdr|zip|tar|tgz|bz2|xz|ima)\b",
    re.I,
)
#: Bins of a volume distribution.
_BINS = 24


def write_batch_report(folder: Path, entries: Sequence[Entry], labels: LabelTable) -> Path:
    """Write ``report.html`` beside the masks.

    The page names cases, never their sources: those may tell more than the case id.

    Args:
        folder: the output folder with its ``pictures``.
        entries: every case of the ledger.
        labels: of the masks.
    """
    scores = suspicion(entries)
    order = sorted(entries, key=lambda entry: (-scores[entry.case], entry.case))
    colours = distinct_colours(labels)
    counts = Counter(entry.state.value for entry in entries)
    done = [entry for entry in entries if entry.state is State.DONE]
    path = folder / NAME
    write_page(
        path,
        "batch.html",
        {
            "title": f"Batch of {len(entries)} cases",
            "version": __version__,
            "counts": dict(counts),
            "flagged": sum(bool(entry.flags) for entry in done),
            "flag_counts": Counter(flag.kind for e in done for flag in e.flags).most_common(),
            "volumes": [_distribution(name, done) for name in labels.names],
            "flag_kinds": sorted({flag.kind for entry in done for flag in entry.flags}),
            "labels": [
                {"name": label.name, "colour": colours[label.value]} for label in labels.labels
            ],
            "cases": [
                _row(entry, scores[entry.case], labels) | _files(folder, entry) for entry in order
            ],
        },
    )
    return path


def without_names(reason: str, source: str) -> str:
    """A reason in which the user's own folders and files are not named.

    >>> without_names("ann/IM1.dcm: corrupt (after ann)", "ann")
    'a file: corrupt (after the scan)'
    """
    marked = reason.replace(source, "\0") if source.strip(".") else reason
    return _FILE.sub("a file", marked).replace("\0", "the scan")


def _row(entry: Entry, score: float, labels: LabelTable) -> dict[str, Any]:
    return {
        "case": entry.case,
        "state": entry.state.value,
        "suspicion": round(score, 2),
        "flags": [flag.text for flag in entry.flags],
        "kinds": sorted({flag.kind for flag in entry.flags}),
        "notes": [without_names(entry.reason, entry.source)] if entry.reason else [],
        "volumes": [_rounded(entry.volumes_ml.get(name)) for name in labels.names],
        "confidence": _rounded(entry.case_confidence),
        "seconds": round(entry.seconds, 2),
    }


def _files(folder: Path, entry: Entry) -> dict[str, Any]:
    """Addresses, relative to the page, of a case's pictures and mask; empty where there is none."""
    planes, scan, labels = picture_names(entry.case)
    done = entry.state is State.DONE and entry.written is not None
    column = column_of(folder / scan) if (folder / labels).is_file() else Column(0, "")
    return {
        "picture": quote(planes) if (folder / planes).is_file() else "",
        "slices": {
            **column._asdict(),
            "scan": quote(scan),
            "layers": [{"name": "mask", "source": quote(labels)}],
        }
        if column.number
        else None,
        "mask": quote(entry.written.name) if done and entry.written else "",
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")


def _distribution(name: str, done: Sequence[Entry]) -> dict[str, Any]:
    """Counts of cases by volume, with the quartiles."""
    found = [entry.volumes_ml[name] for entry in done if name in entry.volumes_ml]
    values = np.array([value for value in found if math.isfinite(value)])
    if not values.size:
        return {"name": name, "bars": [], "low": "", "high": "", "text": "no case"}
    low, high = float(values.min()), float(values.max())
    counts, _ = np.histogram(values, bins=_BINS, range=(low, high if high > low else low + 1))
    q25, middle, q75 = np.percentile(values, [25, 50, 75])
    return {
        "name": name,
        "bars": [round(float(count) / counts.max(), 3) for count in counts],
        "low": f"{low:.3g}",
        "high": f"{high:.3g}",
        "text": f"median {middle:.3g} ml, quartiles {q25:.3g} to {q75:.3g} ml, n = {values.size}",
    }
