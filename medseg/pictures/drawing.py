"""Draws one scan as one picture: three planes through a structure with its outline.

Letters name the sides. Pixels keep the voxels' aspect ratio.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
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
from medseg.pictures.layers import Drawing, Layer
from medseg.pictures.planes import PLANES, Plane, slice_of, view


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
    box, centre = view(masks, canonical, margin_mm)
    crop = tuple(slice(low, high) for low, high in box)
    scan = geometry.canonical(image)[crop]
    window = window if window is not None else _window(scan)
    lengths = [(high - low) * mm for (low, high), mm in zip(box, spacing, strict=True)]
    figure, axes = _figure(lengths, width_inches, title, legend=len(layers) > 0)
    for ax, plane in zip(axes, PLANES, strict=True):
        index = centre[plane.cut] - box[plane.cut][0]
        _draw_scan(ax, slice_of(scan, plane, index), plane, spacing, window)
        for layer, mask in zip(layers, masks, strict=True):
            _draw_layer(ax, layer, slice_of(mask[crop], plane, index), plane, spacing)
        _letter(ax, plane)
    _legend(figure, layers)
    return figure


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
