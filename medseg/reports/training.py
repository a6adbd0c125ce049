"""Training curves: one PNG while a network learns, one chart of any curves.csv for a report."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medseg.pictures import PALETTE
from medseg.reports.figure_style import STYLE, short_name, wide_figure

if TYPE_CHECKING:
    import pandas as pd

#: Labels drawn one by one; of more, the mean alone is.
_MOST_LABELS = 6

_DASHES = ("-", "--", ":", "-.")


def draw_curves(curves: Sequence[Mapping[str, str]], cases: Sequence[Mapping[str, str]]) -> bytes:
    """PNG: the loss with the learning rate on the left, Dice of the held-out scans on the right.

    Args:
        curves: rows of ``curves.csv``.
        cases: rows of ``validation.csv``; without any the right-hand side is left out.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.8), dpi=120, layout="constrained")
        sides = figure.subplots(1, 2 if cases else 1, squeeze=False)[0]
        _draw_loss(sides[0], curves)
        if cases:
            _draw_dice(sides[1], cases)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        return buffer.getvalue()


def curve_chart(table: pd.DataFrame) -> Figure:
    """Training curves: losses on the left, everything else on the right, against time or step.

    Args:
        table: a row a moment; ``step`` or ``epoch``, and named figures (gaps allowed).
    """
    numbers = table.select_dtypes("number").rename(columns=str)
    along = next((name for name in ("step", "epoch") if name in numbers), None)
    x = numbers[along].to_numpy() if along else np.arange(len(numbers))
    names = [
        str(name)
        for name in numbers
        if name not in ("step", "epoch") and numbers[name].notna().any()
    ]
    losses = [name for name in names if "loss" in name]
    scores = [name for name in names if name not in losses and "dice" in name.lower()]
    groups = [group for group in (losses, scores) if group] or [names[:8]]
    with mpl.rc_context(STYLE):
        figure = wide_figure(2.6)
        for ax, group in zip(np.atleast_1d(figure.subplots(1, len(groups))), groups, strict=True):
            for position, name in enumerate(group[:8]):
                defined = numbers[name].notna().to_numpy()
                ax.plot(
                    x[defined],
                    numbers.loc[defined, name],
                    color=PALETTE[6 - position % 7],
                    label=short_name(name),
                    linewidth=1.4,
                    linestyle=("-", "--", ":", "-.")[position % 4],
                )
            ax.set_xlabel(along or "row")
            ax.legend(frameon=False, fontsize=8)
        return figure


def _draw_loss(ax: Axes, curves: Sequence[Mapping[str, str]]) -> None:
    rows = [row for row in curves if row["loss"]]
    steps = [int(row["step"]) for row in rows]
    ax.plot(steps, [float(row["loss"]) for row in rows], color=PALETTE[6], linewidth=1.2)
    ax.set(title="loss", xlabel=_axis(curves))
    beside = ax.twinx()
    rates = [float(row["learning_rate"]) for row in rows]
    beside.plot(steps, rates, color=PALETTE[7], linewidth=1, linestyle=":")
    beside.set_ylabel("learning rate (dotted)", color="#777777")
    beside.grid(visible=False)


def _draw_dice(ax: Axes, cases: Sequence[Mapping[str, str]]) -> None:
    """Every case a dot; lines are the means, of each label and of all."""
    steps = sorted({int(row["step"]) for row in cases})
    labels = list(dict.fromkeys(row["label"] for row in cases))
    means = {label: [_mean(cases, step, label) for step in steps] for label in labels}
    shown = labels if len(labels) <= _MOST_LABELS else []
    for number, label in enumerate(shown):
        colour = PALETTE[(6, 1, 2, 3, 5, 0)[number]]
        dots = [row for row in cases if row["label"] == label]
        ax.scatter(
            [int(row["step"]) for row in dots],
            [float(row["dice"]) for row in dots],
            s=6,
            color=colour,
            alpha=0.35,
            linewidths=0,
        )
        ax.plot(steps, means[label], _DASHES[number % 4], color=colour, label=label, linewidth=1.3)
    if len(labels) > 1:
        mean = np.nanmean(list(means.values()), axis=0)
        ax.plot(steps, mean, color="black", label="mean", linewidth=1.6)
    ax.set(title="Dice of held-out scans", xlabel="step", ylim=(0, 1.02))
    ax.legend(frameon=False, fontsize=7)


def _mean(cases: Sequence[Mapping[str, str]], step: int, label: str) -> float:
    """Mean Dice of a label at a step; NaN where no case has it."""
    here = [
        float(row["dice"]) for row in cases if int(row["step"]) == step and row["label"] == label
    ]
    return float(np.mean(here)) if here else float("nan")


def _axis(curves: Sequence[Mapping[str, str]]) -> str:
    return f"step ({float(curves[-1]['minutes']):.0f} min)" if curves else "step"
