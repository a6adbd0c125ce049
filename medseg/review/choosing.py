"""What to annotate next: cases that the network is unsure of, unlike one another.

Each case has an uncertainty (how unsure the network is along the surfaces, and how rare its flags
are, as ranks among the cases) and a place in the space of its volumes and confidences. Cases are
chosen one after the other: the next has the largest product of its uncertainty and its distance
to the nearest one that was chosen or is labelled already (as core-set selection does, Sener and
Savarese 2018, arXiv:1708.00489, weighted by uncertainty).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.batch.entry import Entry
from medseg.batch.shards import entries_of
from medseg.batch.suspicion import suspicion
from medseg.batch.task import State
from medseg.errors import BadOutput
from medseg.manifests import Cohort, Split
from medseg.review.rows import Rows, rows_of

#: Share of the flags in the uncertainty; the rest is the network's own.
FLAGS_SHARE = 0.3
#: A distance counts from this share of the largest on, so that no case is ruled out for it.
LEAST_DISTANCE = 0.05


@dataclass(frozen=True)
class Choice:
    """One case to annotate.

    Attributes:
        case: its name.
        uncertainty: 0-1, a rank among the cases.
        distance: 0-1, to the nearest case that is chosen or labelled.
        reason: for people.
    """

    case: str
    uncertainty: float
    distance: float
    reason: str


def choose_next(cohort: Cohort, folder: Path, *, count: int) -> list[Choice]:
    """The cases of a batch that are worth annotating first, best first.

    Never a test row or another scan of a test patient, and never what has a mask already. A second
    scan of one patient comes only when every patient has one.

    Args:
        cohort: tells what is labelled and who is in the test part.
        folder: the ``--output`` of medseg segment.
        count: how many, at most.

    Raises:
        BadOutput: no batch was run into the folder, or none of its cases is free.
    """
    entries = [one for one in entries_of(folder) if one.state is State.DONE]
    if not entries:
        raise BadOutput(
            "no masks of medseg segment here", path=folder, expected="its --output folder"
        )
    rows = rows_of(cohort, [entry.case for entry in entries])
    free, labelled = _free(cohort, rows, entries)
    if not free:
        raise BadOutput(
            "every case has a mask of its own or is a test row", path=folder, found=len(entries)
        )
    unsure = _uncertainty(entries)
    places = _places(entries)
    patients = {mask: row.patient for mask, row in rows.of.items()}
    order = _greedy(free, labelled, unsure, places, patients, count)
    reasons = _Reasons(entries)
    return [
        Choice(case, round(unsure[case], 3), round(distance, 3), reasons.of(case, distance))
        for case, distance in order
    ]


def _free(cohort: Cohort, rows: Rows, entries: Sequence[Entry]) -> tuple[list[str], list[str]]:
    """Cases that may be annotated, and those that are labelled already."""
    test = {case.patient for case in cohort.cases if case.split is Split.TEST}
    free: list[str] = []
    labelled: list[str] = []
    for entry in entries:
        row = rows.of.get(entry.case)
        if entry.case in rows.unclear or (row is not None and row.patient in test):
            continue
        (labelled if row is not None and row.label is not None else free).append(entry.case)
    return free, labelled


def _uncertainty(entries: Sequence[Entry]) -> dict[str, float]:
    """0-1 for every case: a weighted mean of ranks."""
    scores = suspicion(entries)
    sure = [entry.case_confidence for entry in entries]
    doubts = [0.0 if value is None else 1 - value for value in sure]
    flags = [scores[entry.case] for entry in entries]
    mixed = (1 - FLAGS_SHARE) * _ranks(doubts) + FLAGS_SHARE * _ranks(flags)
    return {entry.case: float(value) for entry, value in zip(entries, mixed, strict=True)}


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """0-1, equal for equal values; 0.5 where all are the same."""
    array = np.asarray(values, dtype=np.float64)
    below = (array[None] < array[:, None]).sum(axis=1)
    equal = (array[None] == array[:, None]).sum(axis=1) - 1
    return np.asarray((below + equal / 2) / max(1, array.size - 1))


def _places(entries: Sequence[Entry]) -> dict[str, NDArray[np.float64]]:
    """Where each case lies among the others: logarithms of volumes, confidences, standardised."""
    names = sorted({name for entry in entries for name in entry.volumes_ml})
    raw = np.array(
        [
            [math.log(entry.volumes_ml.get(name, 0.0) + 0.01) for name in names]
            + [entry.confidence.get(name, 0.0) for name in names]
            for entry in entries
        ]
    ).reshape(len(entries), -1)
    low, high = np.percentile(raw, [1, 99], axis=0)
    held = np.clip(raw, low, high)  # one absurd volume must not be all that counts
    spread = held.std(axis=0)
    scaled = (held - held.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return {entry.case: row for entry, row in zip(entries, scaled, strict=True)}


def _greedy(
    free: Sequence[str],
    labelled: Sequence[str],
    unsure: Mapping[str, float],
    places: Mapping[str, NDArray[np.float64]],
    patients: Mapping[str, str],
    count: int,
) -> list[tuple[str, float]]:
    left = sorted(free)
    points = np.array([places[case] for case in left])
    weights = np.array([unsure[case] for case in left])
    largest = max(float(np.linalg.norm(points - points.mean(axis=0), axis=1).max()) * 2, 1e-9)
    nearest = np.full(len(left), largest)
    for case in labelled:
        nearest = np.minimum(nearest, np.linalg.norm(points - places[case], axis=1))
    taken = np.zeros(len(left), bool)
    seen: set[str] = set()
    chosen: list[tuple[str, float]] = []
    while len(chosen) < min(count, len(left)):
        again = np.array([patients.get(case, case) in seen for case in left])
        open_ = ~taken & ~again if (~taken & ~again).any() else ~taken
        score = (weights + 0.01) * np.maximum(nearest / largest, LEAST_DISTANCE)
        at = int(np.argmax(np.where(open_, score, -1)))
        chosen.append((left[at], float(nearest[at] / largest)))
        taken[at] = True
        seen.add(patients.get(left[at], left[at]))
        nearest = np.minimum(nearest, np.linalg.norm(points - points[at], axis=1))
    return chosen


class _Reasons:
    """Says in words why a case was chosen."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = {entry.case: entry for entry in entries}
        names = sorted({name for entry in entries for name in entry.confidence})
        self._usual = {
            name: float(np.median([e.confidence[name] for e in entries if name in e.confidence]))
            for name in names
        }
        volumes = sorted({name for entry in entries for name in entry.volumes_ml})
        self._median_ml = {
            name: float(np.median([e.volumes_ml[name] for e in entries if name in e.volumes_ml]))
            for name in volumes
        }

    def of(self, case: str, distance: float) -> str:
        """The reason, without paths."""
        entry = self._entries[case]
        parts = [flag.text for flag in entry.flags[:2]]
        if entry.confidence:
            name = min(entry.confidence, key=lambda n: entry.confidence[n] - self._usual[n])
            sure, usual = entry.confidence[name], self._usual[name]
            if sure < usual:
                parts.insert(0, f"unsure of {name} ({sure:.2f}, usually {usual:.2f})")
        name = self._oddest(entry)
        if name and distance > LEAST_DISTANCE:
            ml, usual_ml = entry.volumes_ml[name], self._median_ml[name]
            parts.append(f"unlike the others: {ml:.3g} ml of {name}, usually {usual_ml:.3g} ml")
        return "; ".join(dict.fromkeys(parts)) or "adds variety"

    def _oddest(self, entry: Entry) -> str:
        """The label whose volume is farthest from the usual one, where that is a third or more."""
        apart = {
            name: abs(math.log((ml + 0.01) / (self._median_ml[name] + 0.01)))
            for name, ml in entry.volumes_ml.items()
        }
        name = max(apart, key=lambda n: apart[n], default="")
        return name if name and apart[name] > math.log(4 / 3) else ""
