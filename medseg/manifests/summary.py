"""A cohort at a glance: cases of each part, grids, volumes of the labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from medseg.errors import MedsegError
from medseg.geometry import Geometry
from medseg.manifests.cohort import Case, Cohort, Split
from medseg.manifests.reading import read_grid, read_truth
from medseg.memory import usable_cores
from medseg.progress import Progress


@dataclass(frozen=True)
class Part:
    """A split or fold.

    Attributes:
        name: ``train``, ``train, fold 0``, ``test``.
        cases, patients, labelled: how many.
    """

    name: str
    cases: int
    patients: int
    labelled: int


@dataclass(frozen=True)
class Spread:
    """Lowest, middle and highest of some numbers, and how many there are."""

    count: int
    lowest: float
    median: float
    highest: float


@dataclass(frozen=True)
class Summary:
    """What reading every file of a cohort shows.

    Attributes:
        parts: in order.
        shape, spacing_mm: of each array axis.
        orientations: axis codes -> cases.
        volumes_ml: label -> volumes of the cases where it occurs.
        unread: cases whose files could not be read; `check_cohort` says why.
    """

    parts: tuple[Part, ...]
    shape: tuple[Spread, ...]
    spacing_mm: tuple[Spread, ...]
    orientations: dict[str, int]
    volumes_ml: dict[str, Spread]
    unread: int


def parts_of(cohort: Cohort) -> tuple[Part, ...]:
    """Splits and folds with their counts; no file is opened."""
    groups: list[tuple[str, list[Case]]] = []
    for split in Split:
        cases = [case for case in cohort.cases if case.split is split]
        groups.append((split.value, cases))
        if split is Split.TRAIN:
            groups += [
                (f"train, fold {fold}", [c for c in cases if c.fold == fold])
                for fold in cohort.folds
            ]
    return tuple(
        Part(
            name,
            len(cases),
            len({case.patient for case in cases}),
            sum(case.label is not None for case in cases),
        )
        for name, cases in groups
        if cases
    )


def summarise_cohort(cohort: Cohort, *, progress: Progress | None = None) -> Summary:
    """Read every scan and mask for their grids and volumes."""
    facts_of_cases: list[tuple[Geometry, dict[str, float]] | None] = []
    with ThreadPoolExecutor(min(8, usable_cores())) as pool:
        for facts in pool.map(lambda case: _facts(cohort, case), cohort.cases):
            facts_of_cases.append(facts)
            if progress:
                progress(len(facts_of_cases), len(cohort.cases))
    read = [facts for facts in facts_of_cases if facts is not None]
    grids = [grid for grid, _ in read]
    volumes = {
        name: [ml[name] for _, ml in read if ml.get(name, 0) > 0] for name in cohort.labels.names
    }
    return Summary(
        parts=parts_of(cohort),
        shape=tuple(_spread(sizes) for sizes in zip(*(g.shape for g in grids), strict=True)),
        spacing_mm=tuple(_spread(s) for s in zip(*(g.spacing_mm for g in grids), strict=True)),
        orientations=dict(Counter(grid.orientation for grid in grids).most_common()),
        volumes_ml={name: _spread(ml) for name, ml in volumes.items() if ml},
        unread=len(facts_of_cases) - len(read),
    )


def _facts(cohort: Cohort, case: Case) -> tuple[Geometry, dict[str, float]] | None:
    try:
        grid = read_grid(cohort, case)
        if case.label is None:
            return grid, {}
        truth = read_truth(cohort, case, grid=grid)
    except MedsegError:
        return None
    drawn = filter(case.annotates, cohort.labels.names)
    return grid, {name: truth.volume_ml(name) for name in drawn}


def _spread(values: Sequence[float]) -> Spread:
    return Spread(len(values), float(min(values)), float(np.median(values)), float(max(values)))
