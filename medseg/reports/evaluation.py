"""The evaluation page: one file that can go into a supplement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd

from medseg import __version__
from medseg.evaluation import Scores, problems
from medseg.evaluation.scores import MEAN
from medseg.evaluation.tables import (
    PAPER_METRICS,
    figure,
    heading,
    interval_notes,
    p_text,
    paper_table,
    with_interval,
)
from medseg.metrics import METRICS
from medseg.metrics.lesions import DETECTED_IOU, PANOPTIC_IOU
from medseg.reports import evaluation_charts as drawn
from medseg.reports.page import Picture, write_page


@dataclass(frozen=True)
class Cell:
    """What a table cell shows, and the exact number behind it."""

    text: str
    value: str | None = None


@dataclass(frozen=True)
class Table:
    """Columns, rows of cells, and which columns are text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    text: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Statistics:
    """What is said of the scores.

    Attributes:
        summary: of `summarise`.
        subgroups: of `subgroups`.
        agreement: of `agreement`.
    """

    summary: pd.DataFrame
    subgroups: pd.DataFrame
    agreement: pd.DataFrame


def write_evaluation_report(
    path: Path,
    scores: Scores,
    tables: Statistics,
    *,
    gallery: Sequence[Picture] = (),
    curves: Path | None = None,
) -> list[Picture]:
    """Write ``report.html``.

    Args:
        path: the page.
        scores: what was scored.
        tables: what is said of the scores.
        gallery: pictures of cases.
        curves: CSV of the training, or ``None``.

    Returns:
        The pictures of the page, to be written beside it.
    """
    tolerance, summary = scores.config.tolerance_mm, tables.summary
    paper = paper_table(summary, tolerance)
    about = scores.about
    distributions = drawn.distributions(scores, summary)
    volume_charts = drawn.volume_charts(scores, tables.agreement)
    subgroup_chart = drawn.subgroup_chart(scores, summary, tables.subgroups)
    training = None if curves is None else drawn.training(curves)
    write_page(
        path,
        "evaluation.html",
        {
            "title": f"Evaluation on {about.get('cohort', 'a cohort')}",
            "version": __version__,
            "lead": _lead(scores),
            "tiles": _tiles(summary, tolerance),
            "warnings": problems(scores),
            "paper": Table(tuple(paper.columns), tuple(paper.itertuples(index=False, name=None))),
            "table_note": _table_note(scores, summary),
            "distributions": distributions,
            "volume_charts": volume_charts,
            "agreement_table": _agreement_table(tables.agreement),
            "subgroup_chart": subgroup_chart,
            "subgroup_table": _subgroup_table(tables.subgroups),
            "gallery": list(gallery),
            "curves": training,
            "cases": case_values(scores),
            "case_table": _case_table(scores),
            "summary_table": _summary_table(summary),
            "short_summary": len(scores.labels) <= 3,
            "rules": _rules(scores, summary),
            "metrics": [_metric_row(name, tolerance) for name in scores.metrics],
            "facts": _facts(about),
        },
    )
    optional = [picture for picture in (subgroup_chart, training) if picture is not None]
    return [*distributions, *volume_charts, *optional, *gallery]


def _lead(scores: Scores) -> str:
    about = scores.about
    counts = f"{len(scores.cases)} cases of {scores.cases['patient'].nunique()} patients"
    split = {
        "test": "the test split",
        "train": "the train split",
        "folds": "out-of-fold predictions of a cross-validation",
    }.get(str(about.get("split", "")), "")
    names = _models(about.get("run") or {})
    told = f" Model {', '.join(names)}." if names else ""
    return f"{counts}, {split}.{told}" if split else f"{counts}.{told}"


def _models(run: Mapping[str, Any]) -> list[str]:
    """Names of the models that predicted, or the first digits of their checksums."""
    models = run.get("models")
    told = [run["model"]] if "model" in run else models if isinstance(models, list) else []
    names = [
        str(m.get("name") or str(m.get("sha256", ""))[:12]) if isinstance(m, Mapping) else str(m)
        for m in told
    ]
    return [name for name in names if name]


def _tiles(summary: pd.DataFrame, tolerance: float) -> list[dict[str, str]]:
    rows = summary[summary["label"] == MEAN].set_index("metric")
    return [
        {
            "figure": with_interval(rows.loc[[metric]].iloc[0], metric),
            "text": f"{heading(metric, tolerance)}, mean over cases and labels",
        }
        for metric in ("dice", "nsd", "hd95")
        if metric in rows.index
    ]


def _table_note(scores: Scores, summary: pd.DataFrame) -> str:
    config = scores.config
    notes = interval_notes(summary[summary["metric"].isin(PAPER_METRICS)])
    return " ".join(
        [
            f"Mean [{config.confidence:.0%} interval] over cases; n is the number of defined Dice "
            "values. ↑ higher is better, ↓ lower is better. A dash is undefined.",
            *notes,
        ]
    )


def _case_table(scores: Scores) -> Table:
    metrics = [metric for metric in PAPER_METRICS if metric in scores.metrics]
    means = {metric: scores.values(metric)[MEAN] for metric in metrics}
    folds = scores.cases.get("fold")
    fold = folds is not None and (folds != "").any()
    columns = (
        "case",
        *(("fold",) if fold else ()),
        "status",
        *(heading(metric, scores.config.tolerance_mm) for metric in metrics),
        "note",
    )
    rows = []
    for case in scores.cases.to_dict("records"):
        cells = [Cell(str(case["case"]))]
        cells += [Cell(str(case["fold"]))] if fold else []
        cells.append(Cell(str(case["status"])))
        cells += [number(float(means[m][case["case"]]), m) for m in metrics]
        cells.append(Cell(str(case.get("reason", ""))))
        rows.append(tuple(cells))
    text = (0, 1, 2, len(columns) - 1) if fold else (0, 1, len(columns) - 1)
    return Table(columns, tuple(rows), text)


def case_values(scores: Scores) -> dict[str, Any]:
    """Every label's figures of every case, for the page's script.

    Values are rounded to what is shown; ``None`` is undefined.
    """
    metrics = [metric for metric in PAPER_METRICS if metric in scores.metrics]
    labels = [*scores.labels, *([MEAN] if len(scores.labels) > 1 else [])]
    wide = {metric: scores.values(metric).reindex(columns=labels) for metric in metrics}
    rounded = {metric: table.round(4).to_numpy() for metric, table in wide.items()}
    return {
        "labels": ["mean over labels" if label == MEAN else label for label in labels],
        "metrics": [heading(metric, scores.config.tolerance_mm) for metric in metrics],
        "cases": {
            str(case): [
                [None if isnan(value) else value for value in rounded[metric][row].tolist()]
                for metric in metrics
            ]
            for row, case in enumerate(scores.cases["case"])
        },
    }


def number(value: float, metric: str) -> Cell:
    """A figure as print shows it, with its exact value behind."""
    return Cell(figure(value, metric), "" if isnan(value) else repr(value))


def _summary_table(summary: pd.DataFrame) -> Table:
    rows = []
    for row in summary.to_dict("records"):
        metric = str(row["metric"])
        cells = [Cell(str(row["label"])), Cell(metric), Cell(str(row["n"]), str(row["n"]))]
        cells += [
            number(float(row[c]), metric)
            for c in ("mean", "sd", "median", "q25", "q75", "ci_low", "ci_high")
        ]
        cells += [Cell(str(row[c]), str(row[c])) for c in ("missing", "undefined", "patients")]
        rows.append((*cells, Cell(str(row["interval"]) or "none")))
    columns = tuple(str(name) for name in summary.columns)
    return Table(columns, tuple(rows), (0, 1, len(columns) - 1))


def _subgroup_table(subgroups: pd.DataFrame) -> Table:
    rows = []
    for row in subgroups.to_dict("records"):
        metric = str(row["metric"])
        cells = [Cell(str(row[c])) for c in ("covariate", "group")]
        cells += [Cell(str(row[c]), str(row[c])) for c in ("patients", "n", "undefined")]
        cells += [
            number(float(row[c]), metric)
            for c in ("mean", "ci_low", "ci_high", "median", "q25", "q75")
        ]
        rows.append((*cells, Cell(str(row["note"]))))
    columns = (
        "covariate",
        "group",
        "patients",
        "n",
        "undefined",
        "mean",
        "ci_low",
        "ci_high",
        "median",
        "q25",
        "q75",
        "note",
    )
    return Table(columns, tuple(rows), (0, 1, 11))


def _agreement_table(agreement: pd.DataFrame) -> Table:
    columns = ("label", "n", "bias", "lower limit", "upper limit", "slope", "p of slope")
    rows = []
    for row in agreement.to_dict("records"):
        cells = [Cell(str(row["label"])), Cell(str(row["n"]), str(row["n"]))]
        for name in ("bias", "lower", "upper"):
            low, high = (
                number(float(row[f"{name}_{end}"]), "volume_error_ml").text
                for end in ("low", "high")
            )
            middle = number(float(row[name]), "volume_error_ml")
            interval = "" if isnan(float(row[f"{name}_low"])) else f" [{low}, {high}]"
            cells.append(Cell(middle.text + interval, middle.value))
        cells.append(number(float(row["slope"]), ""))
        cells.append(Cell(p_text(float(row["slope_p"])), repr(float(row["slope_p"]))))
        rows.append(tuple(cells))
    return Table(columns, tuple(rows), (0,))


def _rules(scores: Scores, summary: pd.DataFrame) -> list[str]:
    config = scores.config
    return [
        "A case's mean is taken over the labels that are defined in it; the table's mean over "
        "labels is taken over these. Undefined values are counted and never enter a mean. A case "
        "whose prediction is missing or refused scores 0 for overlap where the truth holds the "
        "label; its distances and volume errors are undefined.",
        f"Intervals ({config.confidence:.0%}) draw patients, not scans, {config.resamples} times. "
        + " ".join(interval_notes(summary)),
        "Surfaces consist of marching-cubes patches between voxel centres, weighted with their "
        "area (doi:10.2196/26151), on anisotropic and sheared grids too; distances run between "
        "centres of cubes of eight voxels, which makes small ones up to half a voxel too short; a "
        "mask that touches the border of the scan has a surface there; surfaces beside ignored "
        "voxels do not count. HD95 is the larger of the two directed percentiles.",
        "Lesions are components that touch over faces, edges or corners, matched one to one for "
        f"the largest sum of IoU, from {DETECTED_IOU:g} on; panoptic quality counts matches above "
        f"{PANOPTIC_IOU:g}. Volumes come from the determinant of the affine.",
    ]


def _metric_row(name: str, tolerance: float) -> tuple[str, ...]:
    metric = METRICS[name]
    unit = metric.unit_at(tolerance)
    return (
        name,
        metric.title,
        f"tolerance {unit}" if metric.unit == "tolerance" else unit,
        metric.better.value,
        metric.empty.truth.value,
        metric.empty.prediction.value,
        metric.empty.both.value,
        metric.source,
    )


def _facts(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and text of everything known, nested keys joined by dots."""
    hidden = {"labels", "extra_predictions", "leaked", "places"}
    return [
        (name.replace("_", " "), text)
        for name, text in _flat(about, "")
        if name.split(".")[0] not in hidden and text not in ("", "[]", "None")
    ]


def _flat(values: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows += _flat(value, f"{name}.")
        elif isinstance(value, (list, tuple)) and any(isinstance(v, Mapping) for v in value):
            rows += _flat({str(k + 1): v for k, v in enumerate(value)}, f"{name} ")
        elif isinstance(value, (list, tuple)):
            rows.append((name, ", ".join(str(item) for item in value)))
        else:
            rows.append((name, str(value)))
    return rows
