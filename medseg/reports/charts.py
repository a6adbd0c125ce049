"""Charts of scores: one function a chart, each giving a figure of journal width.

Colours are Okabe & Ito's; nothing is said by colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medseg.pictures import PALETTE
from medseg.reports.figure_style import STYLE, short_name, wide_figure

_BLUE, _RED = PALETTE[6], PALETTE[5]

#: Above this number of dots, dots become pixels, so that the page stays small.
MOST_DOTS = 3000

#: Of fewer cases a curve shows each as a dot.
FEW_CASES = 40


def distribution(
    values: pd.DataFrame,
    intervals: Mapping[str, tuple[float, float, float]],
    axis: str,
    *,
    bounds: tuple[float, float],
) -> Figure:
    """One row a label: each case a dot, box of quartiles, mean with its interval.

    Args:
        values: one column a label, one row a case.
        intervals: mean, low and high of each label.
        axis: name and unit of the values.
        bounds: possible values; finite ones limit the axis.
    """
    with mpl.rc_context(STYLE):
        labels = list(values.columns)
        figure = wide_figure(0.75 + 0.42 * len(labels))
        ax = figure.add_subplot()
        columns = {
            row: values[label].dropna().to_numpy(dtype=np.float64)
            for row, label in enumerate(labels)
        }
        columns = {row: column for row, column in columns.items() if column.size}
        if columns:
            _boxes(ax, columns)
            _dots(ax, columns, rasterized=values.size > MOST_DOTS)
        _mean_marks(ax, {row: intervals.get(label) for row, label in enumerate(labels)})
        _label_rows(ax, labels)
        _limit(ax, bounds)
        ax.set_xlabel(axis)
        return figure


def _boxes(ax: Axes, columns: Mapping[int, NDArray[np.float64]]) -> None:
    """Boxes of all rows in a few strokes; an artist for each would take most of the time."""
    rows = np.array(list(columns))
    low, first, middle, third, high = np.transpose(
        [np.percentile(column, (5, 25, 50, 75, 95)) for column in columns.values()]
    )
    for start, end in ((low, first), (third, high)):
        ax.hlines(rows, start, end, colors="#aaaaaa", linewidth=1.0)
    for cap in (low, high):
        ax.vlines(cap, rows - 0.14, rows + 0.14, colors="#aaaaaa", linewidth=1.0)
    ax.barh(rows, third - first, 0.56, left=first, facecolor="none", edgecolor="#888888")
    ax.vlines(middle, rows - 0.28, rows + 0.28, colors="#333333", linewidth=1.0)


def _dots(ax: Axes, columns: Mapping[int, NDArray[np.float64]], *, rasterized: bool) -> None:
    ax.plot(
        np.concatenate(list(columns.values())),
        np.concatenate([row + _spread(column.size) for row, column in columns.items()]),
        ".",
        color=_BLUE,
        alpha=0.55,
        markersize=6.5,
        markeredgewidth=0,
        rasterized=rasterized,
    )


def _spread(count: int) -> NDArray[np.float64]:
    """Offsets that keep dots apart, the same each time: steps of the golden ratio."""
    return np.asarray((np.arange(count) * 0.61803399 % 1.0 - 0.5) * 0.42, dtype=np.float64)


def _mean_marks(ax: Axes, intervals: Mapping[int, tuple[float, float, float] | None]) -> None:
    """Diamonds with their intervals."""
    known = {row: each for row, each in intervals.items() if each and not isnan(each[0])}
    spans = {row: each for row, each in known.items() if not isnan(each[1])}
    for row, (_, low, high) in spans.items():
        ax.plot([low, high], [row, row], color=_RED, linewidth=2.4, solid_capstyle="butt")
    ax.plot(
        [each[0] for each in known.values()],
        list(known),
        "D",
        color=_RED,
        markersize=5,
        markeredgecolor="white",
        markeredgewidth=0.8,
    )


def _label_rows(ax: Axes, labels: Sequence[str]) -> None:
    ax.set_yticks(range(len(labels)), [short_name(label) for label in labels])
    ax.set_ylim(len(labels) - 0.45, -0.55)
    ax.grid(visible=False, axis="y")


def _limit(ax: Axes, bounds: tuple[float, float]) -> None:
    low, high = ax.get_xlim()
    margin = 0.02 * (high - low)
    if np.isfinite(bounds[0]):
        low = max(low, bounds[0] - margin)
    if np.isfinite(bounds[1]):
        high = min(high, bounds[1] + margin)
    ax.set_xlim(low, high)


def bland_altman(panels: Mapping[str, pd.DataFrame], table: pd.DataFrame) -> Figure:
    """Difference of volumes against their mean, one panel a label, with bias and limits.

    Args:
        panels: by label, columns ``truth_ml`` and ``prediction_ml``.
        table: what `agreement` says, one row a label.
    """
    rows = {str(row["label"]): row for row in table.to_dict("records")}
    with mpl.rc_context(STYLE):
        figure, axes = _panels(len(panels))
        for ax, (label, pairs) in zip(axes, panels.items(), strict=True):
            truth = pairs["truth_ml"].to_numpy()
            prediction = pairs["prediction_ml"].to_numpy()
            ax.plot(
                (truth + prediction) / 2,
                prediction - truth,
                "o",
                color=_BLUE,
                alpha=0.6,
                markersize=4,
                markeredgewidth=0,
            )
            ax.axhline(0, color="#999999", linewidth=0.8)
            row = rows[label]
            for name, low, high, style in (
                ("bias", "bias_low", "bias_high", "-"),
                ("lower", "lower_low", "lower_high", "--"),
                ("upper", "upper_low", "upper_high", "--"),
            ):
                if isnan(row[name]):
                    continue
                ax.axhline(row[name], color=_RED, linestyle=style, linewidth=1.3)
                if not isnan(row[low]):
                    ax.axhspan(row[low], row[high], color=_RED, alpha=0.12, linewidth=0)
            ax.set_title(short_name(str(label), 26))
            ax.set_xlabel("mean of truth\nand prediction [ml]")
            ax.set_ylabel("prediction − truth [ml]")
        return figure


def against_volume(panels: Mapping[str, pd.DataFrame], axis: str) -> Figure:
    """A metric against the structure's true volume, one panel a label.

    Args:
        panels: by label, columns ``truth_ml`` and ``value``.
        axis: name and unit of the value.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _panels(len(panels))
        for ax, (label, points) in zip(axes, panels.items(), strict=True):
            ml = points["truth_ml"].to_numpy(dtype=np.float64)
            ax.plot(
                ml, points["value"], "o", color=_BLUE, alpha=0.6, markersize=4, markeredgewidth=0
            )
            if ml.size and ml.min() > 0 and ml.max() > 10 * ml.min():
                ax.set_xscale("log")
            ax.set_title(short_name(str(label), 26))
            ax.set_xlabel("volume of the truth [ml]")
            ax.set_ylabel(axis)
        return figure


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    """Axes side by side, three in a row at most."""
    across = min(3, max(2, count))
    down = -(-count // across)
    figure = wide_figure(2.7 * down)
    axes = list(np.atleast_1d(figure.subplots(down, across)).ravel())
    for ax in axes[count:]:
        ax.set_axis_off()
    return figure, axes[:count]


def forest(table: pd.DataFrame, overall: tuple[float, float, float], axis: str) -> Figure:
    """Mean and interval of each subgroup, one row a group, under its covariate.

    Args:
        table: what `subgroups` says, one metric and label.
        overall: mean and interval of all cases.
        axis: name and unit of the values.
    """
    rows: list[tuple[str, Any]] = [("all cases", None)]
    for covariate, part in table.groupby("covariate", sort=False):
        rows.append((f"{short_name(str(covariate), 24)}:", None))
        rows += [
            (f"{short_name(str(r['group']), 24)}  (n {r['n']})", r) for _, r in part.iterrows()
        ]
    with mpl.rc_context(STYLE):
        figure = wide_figure(0.8 + 0.27 * len(rows))
        ax = figure.add_subplot()
        ax.axvline(overall[0], color="#999999", linewidth=0.9, linestyle="--")
        _mean_marks(ax, {0: overall})
        for place, (_, row) in enumerate(rows):
            if row is not None and not isnan(row["mean"]):
                colour = "#999999" if row["note"] else _BLUE
                if not isnan(row["ci_low"]):
                    ax.plot(
                        [row["ci_low"], row["ci_high"]],
                        [place, place],
                        color=colour,
                        linewidth=1.8,
                        linestyle=":" if row["note"] else "-",
                    )
                ax.plot(
                    [row["mean"]],
                    [place],
                    "o" if row["note"] else "s",
                    color=colour,
                    markersize=5,
                    markerfacecolor="white" if row["note"] else colour,
                )
        ax.set_yticks(range(len(rows)), [text for text, _ in rows])
        for (_, row), tick in zip(rows, ax.get_yticklabels(), strict=True):
            if row is None:
                tick.set_fontweight("bold")
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.grid(visible=False, axis="y")
        ax.set_xlabel(axis)
        return figure


def risk_coverage(curves: Mapping[str, NDArray[np.float64]], without_order: float) -> Figure:
    """Mean error of the surest share of the cases against that share.

    Args:
        curves: by name, (cases,) of the surest one, two … all of them; the first is drawn solid,
            others dashed.
        without_order: mean error of all cases.
    """
    with mpl.rc_context(STYLE):
        figure = wide_figure(3.0)
        ax = figure.add_subplot()
        for number, (name, risk) in enumerate(curves.items()):
            coverage = 100 * np.arange(1, len(risk) + 1) / len(risk)
            style, colour = ("--", "#555555") if number else ("-", _BLUE)
            marker = "." if len(risk) < FEW_CASES else ""
            ax.plot(coverage, risk, style, marker=marker, color=colour, label=name, linewidth=1.6)
        ax.axhline(without_order, color="#999999", linestyle=":", linewidth=1.2, label="no order")
        ax.set_xlim(0, 101)
        ax.set_ylim(bottom=0)
        ax.set_xlabel("surest cases [%]")
        ax.set_ylabel("mean of 1 − Dice")
        ax.legend(frameon=False, fontsize=8)
        return figure


def differences(rows: pd.DataFrame, axis: str) -> Figure:
    """Mean difference and interval, one row for each pair of methods and label."""
    with mpl.rc_context(STYLE):
        figure = wide_figure(0.8 + 0.3 * len(rows))
        ax = figure.add_subplot()
        ax.axvline(0, color="#555555", linewidth=1, linestyle="--")
        texts = []
        for place, row in enumerate(rows.to_dict("records")):
            interval = float(row["difference"]), float(row["ci_low"]), float(row["ci_high"])
            _mean_marks(ax, {place: interval})
            texts.append(
                f"{short_name(str(row['second']), 18)} − {short_name(str(row['first']), 18)}: "
                f"{short_name(str(row['label']), 20)}"
            )
        ax.set_yticks(range(len(texts)), texts)
        ax.set_ylim(len(texts) - 0.4, -0.6)
        ax.grid(visible=False, axis="y")
        ax.set_xlabel(axis)
        return figure
