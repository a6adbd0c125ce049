"""The style of figures for papers, and their files: fonts, width, formats, no date."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.edgecolor": "#777777",
    "svg.hashsalt": "medseg",
    "text.parse_math": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
}

#: Width of two columns in most journals: 183 mm.
WIDTH_INCHES = 7.2

#: What is written for each format, so that the same scores give the same file.
_UNDATED: dict[str, dict[str, None]] = {
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
    "png": {},
}


def wide_figure(height_inches: float) -> Figure:
    """An empty figure of two columns' width."""
    return Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")


def drawn(figure: Figure, form: str = "svg") -> bytes:
    """The figure as ``svg``, ``pdf`` or ``png`` (300 dots an inch), without a date."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format=form, metadata=_UNDATED[form], dpi=300)
    return buffer.getvalue()


def short_name(name: str, most: int = 34) -> str:
    """A name that a figure has room for, in characters that fonts can draw.

    >>> short_name("left kidney", 6)
    'left …'
    """
    printable = "".join(c if c.isprintable() else " " for c in name)
    return printable if len(printable) <= most else printable[: most - 1] + "…"
