"""One scan, one picture: three planes through a structure with its outline.

Radiological convention: the patient's right is on the left of the picture, anterior on top of
axial and on the left of sagittal planes; letters say so. Pixels keep the voxels' aspect ratio.
Truth and prediction have one colour each (Okabe & Ito's, which colour-blind readers tell
apart) and one line style each, so that the picture survives a grey printer.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medseg.contours import outlines
from medseg.errors import GridMismatch
from medseg.geometry import Geometry, canonical_grid

#: Okabe & Ito's palette, black left out: https://jfly.uni-koeln.de/color/
PALETTE = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#0072b2", "#999999")

TRUTH_COLOUR, PREDICTION_COLOUR = PALETTE[0], PALETTE[1]


class Drawing(StrEnum):
    """How a mask is drawn over the scan."""

    CONTOUR = "contour"
    FILL = "fill"


@dataclass(frozen=True, eq=False)
class Layer:
    """A mask and how it is drawn.

    Attributes:
        name: in the legend.
        mask: (X, Y, Z) integers on the scan's array; every value but 0 is drawn.
        colours: one for all values, or by value.
        drawing: contour or half transparent fill.
        dashed: contours only.
    """

    name: str
    mask: NDArray[Any]
    colours: str | Mapping[int, str]
    drawing: Drawing = Drawing.CONTOUR
    dashed: bool = False

    def colour_of(self, value: int) -> str:
        """The colour of a value."""
        if isinstance(self.colours, str):
            return self.colours
        return self.colours.get(value, PALETTE[(value - 1) % len(PALETTE)])


def truth_layer(mask: NDArray[Any]) -> Layer:
    """The truth as everyone draws it here: a solid line."""
    return Layer("truth", mask, TRUTH_COLOUR)


def prediction_layer(mask: NDArray[Any]) -> Layer:
    """The prediction as everyone draws it here: a dashed line over the truth's."""
    return Layer("prediction", mask, PREDICTION_COLOUR, dashed=True)


@dataclass(frozen=True)
class Plane:
    """One of the three planes: which canonical axes run across and up, and which is cut.

    The axis across always grows towards the left of the picture: R and A lie there.
    """

    name: str
    across: int
    up: int
    cut: int
    #: Left, right, top, bottom of the picture.
    letters: tuple[str, str, str, str]


PLANES = (
    Plane("axial", 0, 1, 2, ("R", "L", "A", "P")),
    Plane("coronal", 0, 2, 1, ("R", "L", "S", "I")),
    Plane("sagittal", 1, 2, 0, ("A", "P", "S", "I")),
)


class Picture(Figure):
    """A matplotlib figure that Jupyter shows by itself, without pyplot."""

    def png(self) -> bytes:
        """The picture as a file."""
        return png_bytes(self)

    _repr_png_ = png


def picture(
    image: NDArray[Any],
    geometry: Geometry,
    layers: Sequence[Layer],
    *,
    title: str = "",
    window: tuple[float, float] | None = None,
    margin_mm: float = 25.0,
    width_inches: float = 7.2,
) -> Picture:
    """Three planes through the centre of what the layers hold.

    Args:
        image: (X, Y, Z) intensities.
        geometry: of the image and of every mask.
        layers: drawn in this order.
        title: above the picture; empty for none.
        window: intensities shown as black and white; from percentiles when not given.
        margin_mm: how much of the scan is shown around the structure.
        width_inches: of the picture, at 150 dots an inch.

    Raises:
        GridMismatch: a mask or the image does not have the geometry's shape.
    """
    for array in (image, *(layer.mask for layer in layers)):
        if array.shape != geometry.shape:
            raise GridMismatch(
                "picture and mask differ in shape", found=array.shape, expected=geometry.shape
            )
    canonical = canonical_grid(geometry)
    spacing = canonical.spacing_mm
    masks = [geometry.canonical(layer.mask) for layer in layers]
    box, centre = _view(masks, canonical, margin_mm)
    crop = tuple(slice(low, high) for low, high in box)
    scan = geometry.canonical(image)[crop]
    window = window if window is not None else _window(scan)
    lengths = [(high - low) * mm for (low, high), mm in zip(box, spacing, strict=True)]
    figure, axes = _figure(lengths, width_inches, title, legend=len(layers) > 0)
    for ax, plane in zip(axes, PLANES, strict=True):
        index = centre[plane.cut] - box[plane.cut][0]
        _draw_scan(ax, _slice(scan, plane, index), plane, spacing, window)
        for layer, mask in zip(layers, masks, strict=True):
            _draw_layer(ax, layer, _slice(mask[crop], plane, index), plane, spacing)
        _letter(ax, plane)
    _legend(figure, layers)
    return figure


def _view(
    masks: Sequence[NDArray[Any]], grid: Geometry, margin_mm: float
) -> tuple[list[tuple[int, int]], list[int]]:
    """The box to show, and the index of the slices: where the first filled mask is largest."""
    filled = [mask for mask in masks if mask.any()]
    box, centre = [], []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        size, mm = grid.shape[axis], grid.spacing_mm[axis]
        if not filled:
            box.append((0, size))
            centre.append(size // 2)
            continue
        profile = np.count_nonzero(filled[0], axis=others)
        inside = np.flatnonzero(np.sum([np.any(m, axis=others) for m in filled], axis=0))
        margin = round(margin_mm / mm)
        box.append((max(0, int(inside[0]) - margin), min(size, int(inside[-1]) + margin + 1)))
        middle = np.average(np.arange(size), weights=profile)
        likely = profile >= 0.9 * profile.max()
        centre.append(int(min(np.flatnonzero(likely), key=lambda k: abs(k - middle))))
    return box, centre


def _window(scan: NDArray[Any]) -> tuple[float, float]:
    finite = scan[np.isfinite(scan)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(finite, [1.0, 99.5])
    return float(low), float(high if high > low else low + 1)


def _figure(
    lengths: Sequence[float], width: float, title: str, *, legend: bool
) -> tuple[Picture, list[Axes]]:
    """Three axes side by side, all at one scale."""
    wide = [lengths[plane.across] for plane in PLANES]
    tall = max(lengths[plane.up] for plane in PLANES)
    gap, top, bottom = 0.08, 0.28 if title else 0.04, 0.26 if legend else 0.04
    scale = (width - 4 * gap) / sum(wide)
    scale = min(scale, width * 0.62 / tall)
    height = tall * scale + top + bottom
    figure = Picture(figsize=(width, height), dpi=150, facecolor="black")
    FigureCanvasAgg(figure)
    left = (width - scale * sum(wide) - 2 * gap) / 2
    axes = []
    for plane, across in zip(PLANES, wide, strict=True):
        up = lengths[plane.up] * scale
        bottom_of = bottom + (tall * scale - up) / 2
        axes.append(
            figure.add_axes((left / width, bottom_of / height, across * scale / width, up / height))
        )
        left += across * scale + gap
    if title:
        figure.text(
            0.5,
            1 - 0.07 / height,
            title,
            color="white",
            ha="center",
            va="top",
            fontsize=9,
            parse_math=False,
        )
    return figure, axes


def _slice(array: NDArray[Any], plane: Plane, index: int) -> NDArray[Any]:
    """(up, across) pixels of one plane."""
    cut = np.moveaxis(array, plane.cut, 0)[index]
    return np.asarray(cut.T)


def _draw_scan(
    ax: Axes,
    pixels: NDArray[Any],
    plane: Plane,
    spacing: Sequence[float],
    window: tuple[float, float],
) -> None:
    across, up = pixels.shape[1] * spacing[plane.across], pixels.shape[0] * spacing[plane.up]
    ax.imshow(
        pixels,
        cmap="gray",
        vmin=window[0],
        vmax=window[1],
        origin="lower",
        extent=(0, across, 0, up),
        interpolation="bilinear",
        aspect="equal",
    )
    ax.set_xlim(across, 0)
    ax.set_ylim(0, up)
    ax.set_axis_off()


def _draw_layer(
    ax: Axes, layer: Layer, pixels: NDArray[Any], plane: Plane, spacing: Sequence[float]
) -> None:
    x = (np.arange(pixels.shape[1] + 2) - 0.5) * spacing[plane.across]
    y = (np.arange(pixels.shape[0] + 2) - 0.5) * spacing[plane.up]
    for value in np.unique(pixels[pixels != 0]):
        colour = layer.colour_of(int(value))
        if layer.drawing is Drawing.FILL:
            inside = np.pad(pixels == value, 1).astype(np.float32)
            ax.contourf(x, y, inside, levels=[0.5, 1.5], colors=[colour], alpha=0.45)
        dark = patheffects.withStroke(linewidth=2.2, foreground="#00000080")
        for line in outlines(pixels == value):
            ax.plot(
                (line[:, 1] + 0.5) * spacing[plane.across],
                (line[:, 0] + 0.5) * spacing[plane.up],
                color=colour,
                linewidth=1.3,
                linestyle="dashed" if layer.dashed else "solid",
                path_effects=[] if layer.dashed else [dark],
            )


def _letter(ax: Axes, plane: Plane) -> None:
    left, right, top, bottom = plane.letters
    places = (
        (0.02, 0.5, left, "left", "center"),
        (0.98, 0.5, right, "right", "center"),
        (0.5, 0.985, top, "center", "top"),
        (0.5, 0.015, bottom, "center", "bottom"),
    )
    for x, y, letter, across, up in places:
        text = ax.text(
            x,
            y,
            letter,
            transform=ax.transAxes,
            color="white",
            fontsize=8,
            ha=across,
            va=up,
            fontweight="bold",
        )
        text.set_path_effects([patheffects.withStroke(linewidth=1.8, foreground="black")])


def _legend(figure: Figure, layers: Sequence[Layer]) -> None:
    from matplotlib.lines import Line2D

    named = [layer for layer in layers if isinstance(layer.colours, str)]
    if not named:
        return
    handles = [
        Line2D(
            [],
            [],
            color=layer.colour_of(1),
            linewidth=1.6,
            linestyle="dashed" if layer.dashed else "solid",
        )
        for layer in named
    ]
    figure.legend(
        handles,
        [layer.name for layer in named],
        loc="lower center",
        ncols=len(named),
        frameon=False,
        labelcolor="white",
        fontsize=8,
        borderaxespad=0.15,
    )


def png_bytes(figure: Figure) -> bytes:
    """A figure as a PNG, with its own background."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=figure.get_facecolor())
    return buffer.getvalue()
