"""The scores of one case: both masks read, checked, and every metric applied."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.checksums import sha256_of
from medseg.config import EvaluateConfig
from medseg.errors import GridMismatch, MedsegError
from medseg.evaluation.resample import nearest
from medseg.evaluation.scores import MEAN, MISSING, REFUSED, SCORED, UNSCORED
from medseg.evaluation.translation import same_names
from medseg.files import is_file
from medseg.labels import LabelTable
from medseg.manifests import Case, Cohort, read_case
from medseg.manifests.duplicates import likenesses
from medseg.manifests.looks import pack_looks
from medseg.manifests.reading import named_truth, read_grid, require
from medseg.metrics import METRICS, Metric, Pair, Structure, pairs
from medseg.readers.labels import read_labels
from medseg.scans.masks import mask_needs_image, read_mask
from medseg.tables import printable
from medseg.volume import LabelMap, pixel_hash

log = logging.getLogger(__name__)

#: Said of labels that a case's truth was not drawn for; they have no score there.
NOT_ANNOTATED = "not annotated"

#: Between the warnings of a case in ``cases.csv``.
BETWEEN_WARNINGS = " | "

Row = tuple[str, str, str, str, float, str, str]


@dataclass(frozen=True, eq=False)
class Task:
    """All that scoring one case needs; small, so that it travels to another process.

    Attributes:
        cohort: with this case alone.
        prediction: the mask, or ``None`` where there is none.
        labels: what the prediction's values mean.
        training_pixels: scans that trained the model; empty asks nothing.
        model_scans: folder that holds what these are recognised by when they were saved again,
            or ``None``.
        config: tolerances, and what to do with other grids.
    """

    cohort: Cohort
    prediction: Path | None
    labels: LabelTable
    training_pixels: frozenset[str]
    config: EvaluateConfig
    model_scans: Path | None = None

    @property
    def case(self) -> Case:
        """The one case."""
        return self.cohort.cases[0]


@dataclass(frozen=True, eq=False)
class Outcome:
    """The scores of one case.

    Attributes:
        rows: of the tidy table.
        status: scored, missing, refused (the prediction) or unscored (the truth).
        reason: why not scored, or what was done to score it.
        facts: checksums, and under ``warnings`` what the readers accepted of truth and
            prediction, and a person should know.
        leaked: whether the scan's pixels trained the model.
        look: what the scan is recognised by, where the model says that of its training scans.
    """

    rows: tuple[Row, ...]
    status: str
    reason: str
    facts: dict[str, str]
    leaked: bool
    look: bytes = b""


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


def score_case(task: Task) -> Outcome:
    """Score one case; a fault of this case is recorded, not raised."""
    facts: dict[str, str] = {}
    try:
        truth = _read_truth(task, facts)
        leaked, look = _seen(task)
    except Exception as error:  # noqa: BLE001 - one bad case never stops a cohort
        return unscored(task, _reason(error, task), facts)
    if task.prediction is None:
        rows = _rows_without(task, truth, "prediction missing")
        return Outcome(rows, MISSING, "no prediction of that name", facts, leaked, look)
    try:
        prediction, note = _read_prediction(task, truth, facts)
        return Outcome(_rows(task, truth, prediction, note), SCORED, note, facts, leaked, look)
    except Exception as error:  # noqa: BLE001 - one bad case never stops a cohort
        rows = _rows_without(task, truth, "prediction refused")
        return Outcome(rows, REFUSED, _reason(error, task), facts, leaked, look)


def unscored(task: Task, reason: str, facts: dict[str, str] | None = None) -> Outcome:
    """The outcome of a case that could not be scored for no fault of its prediction."""
    rows = _rows_without(task, None, "truth not usable")
    return Outcome(rows, UNSCORED, reason, facts or {}, leaked=False)


def _reason(error: Exception, task: Task) -> str:
    """What went wrong, without paths: they may name the patient, and the case is known."""
    if isinstance(error, MedsegError):
        text = str(error.about(None))
    elif isinstance(error, OSError):
        text = error.strerror or type(error).__name__
    elif isinstance(error, MemoryError):
        text = "not enough memory"
    else:
        log.exception("case %s", task.case.case)
        text = f"unforeseen {type(error).__name__}: {error}"
    places = {task.prediction: "the prediction", task.case.label: "the truth"}
    places |= dict.fromkeys(task.case.sources, "the scan")
    for path, word in places.items():
        for spelling in (str(path), path.name) if path is not None else ():
            text = text.replace(spelling, word)
    return " ".join(printable(text).split())


def read_pair(task: Task) -> tuple[LabelMap, NDArray[Any]]:
    """Truth and prediction of a case on the truth's grid, for looking at them.

    Raises:
        MedsegError: one of them cannot be used.
    """
    facts: dict[str, str] = {}
    truth = _read_truth(task, facts)
    return truth, _read_prediction(task, truth, facts)[0]


def _read_truth(task: Task, facts: dict[str, str]) -> LabelMap:
    path = task.case.label
    if path is None:
        raise MedsegError("the case has no truth", found="no label in the table")
    require(task.cohort, path)
    facts["truth_sha256"] = sha256_of(path) if is_file(path) else ""
    grid = None
    if task.case.images and mask_needs_image(path):
        grid = read_grid(task.cohort, task.case)
    mask = read_mask(path, labels=task.cohort.labels, grid=grid)
    _warn(facts, "the truth", mask)
    return named_truth(task.cohort, task.case, mask)


def _warn(facts: dict[str, str], whose: str, mask: LabelMap) -> None:
    """Add a reader's warnings to what is known of a case, without paths."""
    texts = [printable(text).replace(str(mask.origin.path), "it") for text in mask.origin.warnings]
    known = [facts["warnings"]] if facts.get("warnings") else []
    facts["warnings"] = BETWEEN_WARNINGS.join([*known, *(f"{whose}: {text}" for text in texts)])


def _seen(task: Task) -> tuple[bool, bytes]:
    """Whether this very scan trained the model, and else what it is recognised by.

    The scan is read only where the model says which scans it was trained on.
    """
    if not task.training_pixels or not task.case.images:
        return False, b""
    from medseg.transforms.channels import aligner

    scan = read_case(task.cohort, task.case, align=aligner(task.cohort.frames))
    if pixel_hash(scan) in task.training_pixels:
        return True, b""
    return False, pack_looks(likenesses(scan)) if task.model_scans is not None else b""


def _read_prediction(
    task: Task, truth: LabelMap, facts: dict[str, str]
) -> tuple[NDArray[Any], str]:
    """The prediction's voxels on the truth's grid with the truth's values, and a note."""
    path = task.prediction
    if path is None:
        raise MedsegError("no prediction")
    facts["prediction_sha256"] = sha256_of(path)
    mask = read_labels(path, labels=task.labels)
    _warn(facts, "the prediction", mask)
    if mask.labels is not None:
        mask = mask.named(task.labels)
    values, note = mask.data, ""
    if not mask.geometry.fits(truth.geometry):
        if task.config.other_grid == "refuse":
            raise GridMismatch(
                "the prediction lies on another grid than the truth",
                path=path,
                found=mask.geometry.describe_beside(truth.geometry),
                expected=truth.geometry.describe(),
                remedy="Segment the same scan, or ask for --resample-nearest.",
            )
        values = nearest(mask, truth.geometry)
        note = "resampled to the truth's grid by nearest neighbour"
    return same_names(values, task.labels, task.cohort.labels, path=path), note


def _rows(task: Task, truth: LabelMap, prediction: NDArray[Any], note: str) -> tuple[Row, ...]:
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


def _rows_without(task: Task, truth: LabelMap | None, why: str) -> tuple[Row, ...]:
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
