"""Figures of a page: inlined in it, and written beside it for papers as SVG, PDF and PNG."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from matplotlib.figure import Figure

from medseg.reports.figure_style import drawn
from medseg.reports.page import Picture, picture
from medseg.writers.atomic import atomic_path

FOLDER = "figures"


def chart(figure: Figure, *, name: str, alt: str, caption: str) -> Picture:
    """A chart as a picture of the page, with its files for papers.

    Args:
        figure: of journal width.
        name: of its files.
        alt: what it shows, for those who do not see it.
        caption: under it.
    """
    svg = drawn(figure)
    figure.set_layout_engine("none")  # found once, kept for the other formats
    files = {
        f"{name}.svg": svg,
        **{f"{name}.{form}": drawn(figure, form) for form in ("pdf", "png")},
    }
    return picture(svg, alt=alt, caption=caption, files=files)


def write_figures(folder: Path, pictures: Iterable[Picture | None]) -> None:
    """Write the files of the pictures into ``figures``."""
    for each in pictures:
        for name, content in ({} if each is None else each.files).items():
            with atomic_path(folder / FOLDER / name) as temporary:
                temporary.write_bytes(content)
