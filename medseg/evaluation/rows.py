"""The rows of one case in scores.csv: every metric of every structure, and their means."""

from __future__ import annotations

from math import isnan, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.evaluation.scores import MEAN
from medseg.evaluation.task import Row, Task
from medseg.labels import LabelTable
from medseg.metrics import METRICS, Metric, Pair, Structure, pairs
from medseg.volume import LabelMap

#: Said of labels that a case's truth was not drawn for; they have no score there.
NOT_ANNOTATED = "not annotated"


def score_rows(task: Task, truth: LabelMap, prediction: NDArray[Any], note: str) -> tuple[Row, ...]:
    """Rows of a case: every metric of every structure, then their means.

    Args:
        task: the case, its labels and tolerances.
        truth: the true mask.
        prediction: (X, Y, Z) on the truth's grid, with the truth's values.
        note: what was done to score it; stands in every row.
    """
    table = task.cohort.labels
    structures = structures_of(table)
    tolerances = {s.name: _tolerance(task, s.name) for s in structures}
    rows: list[Row] = []
    steps = truth.geometry.affine[:3, :3]
    for structure, pair in pairs(
        truth.data,
        prediction,
        structures,
        steps,
        tolerances_mm=tolerances,
        ignore=table.ignore,
    ):
        known = _annotated(task, structure)
        why = _empty_note(pair) if known else NOT_ANNOTATED
        for metric in METRICS.values():
            value = metric.value(pair) if known else nan
            unit = metric.unit_at(tolerances[structure.name])
            rows.append(_row(task, structure.name, metric, value, unit, _join(note, why)))
    return tuple(rows + _mean_rows(task, rows, note))


def unscored_rows(task: Task, truth: LabelMap | None, why: str) -> tuple[Row, ...]:
    """Rows of a case without a usable prediction (or, `truth` being ``None``, truth)."""
    rows: list[Row] = []
    for structure in structures_of(task.cohort.labels):
        there = truth is not None and bool(np.isin(truth.data, structure.values).any())
        known = _annotated(task, structure)
        for metric in METRICS.values():
            value = metric.missing if there and known else nan
            if truth is not None and known and metric.name == "truth_ml":
                value = float(np.isin(truth.data, structure.values).sum()) * truth.geometry.voxel_ml
            unit = metric.unit_at(_tolerance(task, structure.name))
            empty = "truth empty" if known else NOT_ANNOTATED
            note = why if truth is None or (there and known) else _join(why, empty)
            rows.append(_row(task, structure.name, metric, value, unit, note))
    return tuple(rows + _mean_rows(task, rows, why))


def structures_of(labels: LabelTable) -> tuple[Structure, ...]:
    """Every label, then every region that is no label under another name."""
    single = _labels_of(labels)
    known = {(structure.name, structure.values) for structure in single}
    names = {structure.name for structure in single}
    regions = [
        Structure(f"{region.name} (region)" if region.name in names else region.name, region.values)
        for region in labels.regions
        if (region.name, region.values) not in known
    ]
    return (*single, *regions)


def _labels_of(labels: LabelTable) -> list[Structure]:
    """The labels; one that is called like the row of means gets another name."""
    return [
        Structure(f"{label.name} (label)" if label.name == MEAN else label.name, (label.value,))
        for label in labels.labels
    ]


def _annotated(task: Task, structure: Structure) -> bool:
    """Whether the truth was drawn for all that a structure is made of."""
    labels = task.cohort.labels
    return all(task.case.annotates(labels.name_of(value)) for value in structure.values)


def _empty_note(pair: Pair) -> str:
    counts = pair.counts
    if counts.truth == 0 and counts.prediction == 0:
        return "both empty"
    if counts.truth == 0:
        return f"truth empty, {counts.prediction * pair.voxel_ml:.6g} ml false positive"
    if counts.prediction == 0:
        return "prediction empty"
    return "" if pair.surfaces.seen else "no surface in sight beside ignored voxels"


def _mean_rows(task: Task, rows: list[Row], note: str) -> list[Row]:
    """The mean over the case's defined labels, of each metric; regions do not count."""
    single = {structure.name for structure in _labels_of(task.cohort.labels)}
    means = []
    for metric in METRICS.values():
        of_metric = [row for row in rows if row[3] == metric.name and row[2] in single]
        defined = [row[4] for row in of_metric if not isnan(row[4])]
        value = sum(defined) / len(defined) if defined else nan
        units = {row[5] for row in of_metric}
        unit = units.pop() if len(units) == 1 else "per label"
        means.append(
            _row(
                task,
                MEAN,
                metric,
                value,
                unit,
                _join(note, f"over {len(defined)} of {len(of_metric)} labels"),
            )
        )
    return means


def _row(task: Task, label: str, metric: Metric, value: float, unit: str, note: str) -> Row:
    return (task.case.case, task.case.patient, label, metric.name, float(value), unit, note)


def _tolerance(task: Task, name: str) -> float:
    return task.config.tolerances_mm.get(name, task.config.tolerance_mm)


def _join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
