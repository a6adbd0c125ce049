"""A scan and its masks as a figure, and as three lines with a picture in Jupyter."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.ct_windows import WINDOWS, window_for
from medseg.errors import BadScan, GridMismatch
from medseg.pictures import Layer, Picture, picture, png_bytes
from medseg.volume import Gridded, LabelMap, Volume

#: Structures that a legend names one by one; more are drawn without.
_MOST_NAMED = 8

#: Width of the picture beside a repr.
_SMALL_INCHES = 4.0


def plot(
    first: Gridded,
    others: Sequence[Gridded],
    *,
    title: str = "",
    window: tuple[float, float] | None = None,
    channel: int = 0,
    width_inches: float = 7.2,
) -> Picture:
    """Three planes through the structures; see :meth:`medseg.volume.Gridded.plot`."""
    scans = [one for one in (first, *others) if isinstance(one, Volume)]
    masks = [one for one in (first, *others) if isinstance(one, LabelMap)]
    if len(scans) > 1:
        raise BadScan("one scan lies behind the masks", found=f"{len(scans)} scans")
    for one in others:
        if not one.geometry.fits(first.geometry):
            raise GridMismatch(
                "scan and mask lie on different grids",
                found=one.geometry.describe_beside(first.geometry),
                expected=first.geometry.describe(),
            )
    image, shades = _background(first, scans, masks, window, channel)
    layers = [layer for mask in masks for layer in _layers(mask)]
    return picture(
        image, first.geometry, layers, title=title, window=shades, width_inches=width_inches
    )


def html(gridded: Gridded) -> str:
    """The repr and a small picture, with nothing that names a patient."""
    png = png_bytes(plot(gridded, (), width_inches=_SMALL_INCHES))
    return (
        f"<pre>{escape(repr(gridded))}</pre>"
        f'<img alt="three planes" src="data:image/png;base64,{base64.b64encode(png).decode()}"/>'
    )


def _background(
    first: Gridded,
    scans: Sequence[Volume],
    masks: Sequence[LabelMap],
    window: tuple[float, float] | None,
    channel: int,
) -> tuple[NDArray[Any], tuple[float, float] | None]:
    if not scans:
        return np.zeros(first.geometry.shape, np.uint8), (0.0, 1.0)
    scan = scans[0]
    if not -len(scan.data) <= channel < len(scan.data):
        raise BadScan(
            "the scan has no such channel", found=channel, expected=f"0 to {len(scan.data) - 1}"
        )
    names = [label.name for mask in masks if mask.labels for label in mask.labels.labels]
    suited = WINDOWS[window_for(names)] if scan.origin.modality == "CT" else None
    shades = window if window is not None else suited
    return scan.measuring()(scan.data[channel]), shades


def _layers(mask: LabelMap) -> Iterator[Layer]:
    """One layer a structure, so that the legend names it; one for all where they are many."""
    present = [int(value) for value in np.unique(mask.data) if value]
    table = mask.labels
    colours = {} if table is None else {one.value: one.colour for one in table.labels}
    names = {} if table is None else {one.value: one.name for one in table.labels}
    if len(present) > _MOST_NAMED or any(value not in colours for value in present):
        yield Layer("mask", mask.data, colours)
        return
    for value in present:
        yield Layer(names[value], mask.data == value, colours[value])
