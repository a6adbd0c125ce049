"""The charts of the evaluation page, each made from scores, with a caption."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from pathlib import Path

import numpy as np
import pandas as pd

from medseg.errors import BadOutput
from medseg.evaluation import Scores
from medseg.evaluation.agreement import volumes
from medseg.evaluation.error_ranking import GOOD_DICE, risk_coverage
from medseg.evaluation.scores import MEAN
from medseg.evaluation.tables import heading
from medseg.metrics import METRICS
from medseg.reports import charts
from medseg.reports.figures import chart
from medseg.reports.page import Picture
from medseg.reports.training import curve_chart

#: Metrics whose distribution is drawn.
_DRAWN = ("dice", "nsd", "hd95")

#: Labels that get a panel of their own, the largest structures first.
MOST_PANELS = 9


def distributions(scores: Scores, summary: pd.DataFrame) -> list[Picture]:
    """One chart a metric: every case a dot, by label."""
    return [_distribution(scores, summary, metric) for metric in _DRAWN if metric in scores.metrics]


def _distribution(scores: Scores, summary: pd.DataFrame, metric: str) -> Picture:
    values = scores.values(metric).rename(columns={MEAN: "mean over labels"})
    intervals = {
        ("mean over labels" if label == MEAN else label): interval
        for label, interval in _intervals(summary, metric).items()
    }
    known = METRICS[metric]
    figure = charts.distribution(
        values,
        intervals,
        heading(metric, scores.config.tolerance_mm),
        bounds=(known.low, known.high),
    )
    return chart(
        figure,
        name=f"distribution_{metric}",
        alt=f"Distribution of {known.title} by label",
        caption=(
            f"{known.title}. Each dot is a case; box: quartiles, whiskers: 5th and 95th "
            f"percentile, diamond: mean with its {scores.config.confidence:.0%} interval."
        ),
    )


def _intervals(summary: pd.DataFrame, metric: str) -> dict[str, tuple[float, float, float]]:
    rows = summary[summary["metric"] == metric].to_dict("records")
    return {
        str(row["label"]): (float(row["mean"]), float(row["ci_low"]), float(row["ci_high"]))
        for row in rows
    }


def volume_charts(scores: Scores, agreement: pd.DataFrame) -> list[Picture]:
    """Bland-Altman plots, and Dice against volume, of the largest structures."""
    pairs = {label: volumes(scores, label) for label in scores.labels}
    pairs = {label: table for label, table in pairs.items() if len(table)}
    largest = sorted(pairs, key=lambda label: -float(pairs[label]["truth_ml"].mean()))
    shown = [label for label in pairs if label in set(largest[:MOST_PANELS])]
    if not shown:
        return []
    of = "" if len(shown) == len(pairs) else f" The {len(shown)} largest of {len(pairs)} labels."
    dice = scores.values("dice")
    points = {
        label: pairs[label].assign(value=pairs[label]["case"].map(dice[label])) for label in shown
    }
    return [
        chart(
            charts.bland_altman({label: pairs[label] for label in shown}, agreement),
            name="bland_altman",
            alt="Bland-Altman plots of volumes by label",
            caption=(
                "Bland-Altman plots of volume. Solid: bias; dashed: limits of agreement "
                "(bias ± 1.96 SD); shaded: their "
                f"{scores.config.confidence:.0%} intervals.{of}"
            ),
        ),
        chart(
            charts.against_volume(points, "Dice"),
            name="dice_against_volume",
            alt="Dice against structure volume",
            caption=f"Dice against the volume of the true structure.{of}",
        ),
    ]


def subgroup_chart(
    scores: Scores, summary: pd.DataFrame, subgroups: pd.DataFrame
) -> Picture | None:
    """A forest plot of Dice over the subgroups; ``None`` where there are none."""
    if len(subgroups) == 0:
        return None
    table = subgroups[(subgroups["metric"] == "dice") & (subgroups["label"] == MEAN)]
    figure = charts.forest(table, _intervals(summary, "dice")[MEAN], "Dice, mean over labels")
    return chart(
        figure,
        name="subgroups",
        alt="Dice by subgroup",
        caption=(
            f"Dice by subgroup with {scores.config.confidence:.0%} intervals; dashed line: all "
            "cases. Open circles with dotted lines: fewer than 10 patients. "
            "These are descriptions, not tests."
        ),
    )


def risk_coverage_chart(
    scores: Scores, ranking: pd.DataFrame, confidence: Mapping[str, float]
) -> Picture | None:
    """What is wrong with the surest share of the cases; ``None`` where nobody says how sure.

    Args:
        scores: of the cases.
        ranking: of `rank_errors`.
        confidence: case to 0-1.
    """
    rows = ranking[ranking["label"] == MEAN] if len(ranking) else ranking
    if not len(rows):
        return None
    dice = scores.values("dice")[MEAN].dropna()
    known = [case for case in dice.index if str(case) in confidence]
    risk = 1 - dice[known].to_numpy(dtype=np.float64)
    sure = np.array([confidence[str(case)] for case in known])
    curves = {"by confidence": risk_coverage(sure, risk), "perfect": risk_coverage(-risk, risk)}
    row = rows.iloc[0]
    return chart(
        charts.risk_coverage(curves, float(risk.mean())),
        name="risk_coverage",
        alt=f"Risk-coverage curve of {len(known)} cases",
        caption=(
            "Mean error (1 − Dice, mean over labels) of the surest cases, from one to all. "
            "Dashed: cases in the order of their true error; dotted: in no order. "
            + _auroc_in_words(float(row["auroc"]), int(row["below"]), len(known))
        ),
    )


def _auroc_in_words(auroc: float, below: int, cases: int) -> str:
    if isnan(auroc):
        all_or_none = "Every" if below else "No"
        return f"{all_or_none} case has a Dice below {GOOD_DICE:g}, so AUROC says nothing."
    return (
        f"AUROC {auroc:.2f}: of a case with a Dice below {GOOD_DICE:g} ({below} of {cases}) and "
        f"another one, confidence is lower for the former {100 * auroc:.0f} times in 100; 50 would "
        "be chance."
    )


def training(path: Path) -> Picture:
    """The training's curves.

    Raises:
        BadOutput: the file is no table.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise BadOutput("the training curves cannot be read", path=path, found=error) from None
    return chart(
        curve_chart(table),
        name="training",
        alt="Training curves",
        caption="Training and validation as they went.",
    )
