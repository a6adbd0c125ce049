"""Memory of each tool by the length of the scan and its classes, as one SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medseg.reports.figure_style import STYLE

#: Name, row of the results, what counts of it, colour, marker. Of medseg the upper bound counts,
#: of the others what was seen.
TOOLS = (
    ("medseg", "medseg-all-windows", "high_mb", "#0b6e8f", "o"),
    ("MONAI", "monai", "own_mb", "#c8553d", "s"),
    ("nnU-Net", "nnunet", "own_mb", "#7a7a7a", "^"),
)
MACHINE_GB = 24 * 2**30 / 1e9


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A panel for each number of classes; hollow marks were computed, full ones measured."""
    counts = sorted({row["classes"] for row in rows if "tool" in row})
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 2.7), layout="constrained")
        sides = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
        for ax, classes in zip(sides, counts, strict=True):
            _panel(ax, [row for row in rows if row.get("classes") == classes and "tool" in row])
            ax.set(title=f"{classes} classes", xlabel="length of the scan (mm)", yscale="log")
            ax.axhline(MACHINE_GB, color="black", linewidth=0.8, linestyle=":")
        sides[0].set_ylabel("peak memory (GB)")
        sides[0].legend(frameon=False, fontsize=7, loc="upper left")
        sides[-1].text(
            1,
            MACHINE_GB,
            "24 GiB",
            fontsize=7,
            ha="right",
            va="bottom",
            transform=sides[-1].get_yaxis_transform(),
        )
        figure.savefig(path, format="svg", metadata={"Date": None})


def _panel(ax: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    for name, tool, measured, colour, marker in TOOLS:
        own = sorted((row for row in rows if row["tool"] == tool), key=lambda row: row["shape"][2])
        if not own:
            continue
        extents = [row["shape"][2] for row in own]
        peaks = [row.get("computed_mb", row.get(measured, 0)) / 1000 for row in own]
        ax.plot(extents, peaks, color=colour, linewidth=1, label=name)
        for extent, peak, row in zip(extents, peaks, own, strict=True):
            filled = "white" if "computed_mb" in row else colour
            ax.plot(extent, peak, marker, color=colour, markerfacecolor=filled, markersize=5)
