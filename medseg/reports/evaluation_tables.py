"""The tables of the evaluation page: cells as print shows them, with exact values behind."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import Any

import pandas as pd

from medseg.evaluation import Scores
from medseg.evaluation.error_ranking import GOOD_DICE
from medseg.evaluation.scores import MEAN
from medseg.evaluation.tables import PAPER_METRICS, figure, heading, p_text


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


def number(value: float, metric: str) -> Cell:
    """A figure as print shows it, with its exact value behind."""
    return Cell(figure(value, metric), "" if isnan(value) else repr(value))


def summary_table(summary: pd.DataFrame) -> Table:
    """Every label and metric with its interval."""
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


def subgroup_table(subgroups: pd.DataFrame) -> Table:
    """Dice by subgroup."""
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


def agreement_table(agreement: pd.DataFrame) -> Table:
    """Bias and limits of volumes, each with its interval."""
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


def case_table(scores: Scores) -> Table:
    """One row a case: its means over labels, and why it was not scored."""
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


def ranking_table(ranking: pd.DataFrame) -> Table:
    """How well confidence ranks errors, a row a label; see `medseg.evaluation.rank_errors`."""
    rows = []
    for row in ranking.to_dict("records"):
        cells = [Cell(str(row["label"]))]
        cells += [Cell(str(row[name]), str(row[name])) for name in ("n", "below")]
        cells += [number(float(row[name]), "dice") for name in _AREAS]
        rows.append(tuple(cells))
    columns = ("label", "n", f"Dice below {GOOD_DICE:g}", "AUROC", "AURC ↓", "perfect", "none")
    return Table(columns, tuple(rows), (0,))


_AREAS = ("auroc", "aurc", "aurc_best", "aurc_chance")
