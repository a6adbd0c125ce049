"""The evaluation page: one file that can go into a supplement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd

from medseg import __version__
from medseg.evaluation import Scores, problems
from medseg.evaluation.scores import MEAN
from medseg.evaluation.tables import (
    PAPER_METRICS,
    heading,
    interval_notes,
    paper_table,
    with_interval,
)
from medseg.labels import LabelTable
from medseg.labels.colours import distinct_colours
from medseg.metrics import METRICS
from medseg.metrics.lesions import DETECTED_IOU, PANOPTIC_IOU
from medseg.reports import evaluation_charts as drawn
from medseg.reports.evaluation_tables import (
    Table,
    agreement_table,
    case_table,
    ranking_table,
    subgroup_table,
    summary_table,
)
from medseg.reports.gallery import ShownCase
from medseg.reports.page import Picture, write_page


@dataclass(frozen=True, eq=False)
class Statistics:
    """What is said of the scores.

    Attributes:
        summary: of `summarise`.
        subgroups: of `subgroups`.
        agreement: of `agreement`.
        ranking: of `rank_errors`; empty where nothing says how sure the network was.
        confidence: case to 0-1, behind it.
    """

    summary: pd.DataFrame
    subgroups: pd.DataFrame
    agreement: pd.DataFrame
    ranking: pd.DataFrame
    confidence: Mapping[str, float] = field(default_factory=dict)


def write_evaluation_report(
    path: Path,
    scores: Scores,
    tables: Statistics,
    *,
    shown: Sequence[ShownCase] = (),
    labels: LabelTable | None = None,
    curves: Path | None = None,
) -> list[Picture]:
    """Write ``report.html``.

    Args:
        path: the page.
        scores: what was scored.
        tables: what is said of the scores.
        shown: cases with pictures and slices.
        labels: whose places the slices of `shown` hold.
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
    ranking_chart = drawn.risk_coverage_chart(scores, tables.ranking, tables.confidence)
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
            "agreement_table": agreement_table(tables.agreement),
            "subgroup_chart": subgroup_chart,
            "subgroup_table": subgroup_table(tables.subgroups),
            "ranking_table": ranking_table(tables.ranking) if len(tables.ranking) else None,
            "ranking_chart": ranking_chart,
            "shown": list(shown),
            "pairs": _pairs(shown, labels),
            "curves": training,
            "cases": case_values(scores),
            "case_table": case_table(scores),
            "summary_table": summary_table(summary),
            "short_summary": len(scores.labels) <= 3,
            "rules": _rules(scores, summary),
            "metrics": [_metric_row(name, tolerance) for name in scores.metrics],
            "facts": _facts(about),
        },
    )
    optional = (subgroup_chart, ranking_chart, training)
    return [
        *distributions,
        *volume_charts,
        *(picture for picture in optional if picture is not None),
        *(each.picture for each in shown),
    ]


def _pairs(shown: Sequence[ShownCase], labels: LabelTable | None) -> dict[str, Any]:
    """The cases that are shown slice by slice, for the page's script."""
    colours = distinct_colours(labels) if labels else {}
    return {
        "labels": [
            {"name": label.name, "colour": colours[label.value]}
            for label in (labels.labels if labels else ())
        ],
        "cases": [{"name": each.case, "slices": dict(each.slices)} for each in shown],
    }


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
