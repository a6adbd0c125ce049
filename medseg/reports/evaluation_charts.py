"""The charts of the evaluation page, each made from scores, with a caption."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from medseg.errors import BadOutput
from medseg.evaluation import Scores
from medseg.evaluation.agreement import volumes
from medseg.evaluation.scores import MEAN
from medseg.evaluation.tables import heading
from medseg.metrics import METRICS
from medseg.reports import charts
from medseg.reports.figures import chart
from medseg.reports.page import Picture

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
        charts.curves(table),
        name="training",
        alt="Training curves",
        caption="Training and validation as they went.",
    )
