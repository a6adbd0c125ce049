"""Slices through a mask, cut from a scan that is thinned already, for pages to scroll through.

In radiological convention: the patient's right, and in the sagittal plane the front, lies on the
left of the picture; up is anterior in the axial plane and superior in the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.batch.slices import (
    LONGEST,
    MOST_SLICES,
    Column,
    Slices,
    chosen_slices,
    outlines_of,
    slices_of,
)
from medseg.ct_windows import WINDOWS, window_for
from medseg.geometry import canonical_grid
from medseg.volume import LabelMap, Volume

#: Of a scan with more voxels along an axis every second, third … is kept until it is drawn.
ENOUGH = 288

#: Canonical axis cut, across (towards the left of the picture: right, front), up; the letters of
#: what lies to the left and at the top.
PLANES = ((2, 0, 1, "RA"), (1, 0, 2, "RS"), (0, 1, 2, "AS"))


@dataclass(frozen=True, eq=False)
class PairedSlices:
    """Slices of a case whose truth is known.

    Attributes:
        prediction: the scan, and the labels of the prediction.
        truth: a PNG of the truth's labels, their outlines alone.
        column: how many there are, and their edges.
    """

    prediction: Slices
    truth: bytes
    column: Column


def paired_slices(volume: Volume, truth: LabelMap, prediction: LabelMap) -> PairedSlices:
    """Slices through truth and prediction, which lie on the scan's grid and share its labels."""
    thinned, steps = thinned_of(volume)
    names = truth.labels.names if truth.labels else ()
    ends = window_of(thinned, volume) or WINDOWS[window_for(names)]
    low, high = ((value - volume.intercept) / volume.slope for value in ends)  # as stored
    cut = _cut(thinned, steps, replace(truth, data=np.maximum(truth.data, prediction.data)))
    grey = cut.grey(thinned, (low, high))
    return PairedSlices(
        slices_of(grey, cut.marks(prediction), cut.size, prediction.labels, cut.edges),
        outlines_of(cut.marks(truth), cut.size, truth.labels),
        Column(len(cut.indices), cut.edges),
    )


def slices_through(
    thinned: NDArray[Any], steps: tuple[int, ...], window: tuple[float, float], mask: LabelMap
) -> Slices:
    """The slices of a thinned scan that go through a mask.

    Args:
        thinned: canonical (R, A, S) voxels, every so many along each axis.
        steps: how many.
        window: stored values shown black and white.
        mask: on the whole scan's grid.
    """
    cut = _cut(thinned, steps, mask)
    grey = cut.grey(thinned, window)
    return slices_of(grey, cut.marks(mask), cut.size, mask.labels, cut.edges)


def thinned_of(volume: Volume) -> tuple[NDArray[Any], tuple[int, ...]]:
    """The first channel, R, A, S, of every so many voxels along each axis; and how many."""
    scan = volume.geometry.canonical(volume.data[0])
    steps = tuple(-(-n // ENOUGH) for n in scan.shape)
    return scan[tuple(slice(step // 2, None, step) for step in steps)].copy(), steps


def window_of(thinned: NDArray[Any], volume: Volume) -> tuple[float, float] | None:
    """The real-world values shown black and white; ``None`` for CT, where the labels choose."""
    step = max(1, round((thinned.size / 50_000) ** (1 / 3)))
    sample = thinned[::step, ::step, ::step] * np.float32(volume.slope) + volume.intercept
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return 0.0, 1.0
    low, high = np.percentile(sample, [1, 99])
    if volume.origin.modality == "CT" or low < -500:
        return None
    return float(low), float(max(high, low + 1e-6))


def grey_of(shades: NDArray[Any], window: tuple[float, float]) -> NDArray[np.uint8]:
    """Black at the window's low end, white at its high one; what is no number is 0."""
    low, high = window
    grey = np.clip((np.nan_to_num(shades) - low) / (high - low), 0, 1) * 255
    return np.asarray(grey, dtype=np.uint8)


@dataclass(frozen=True, eq=False)
class _Cut:
    """Which slices are drawn of a scan, and how large.

    Attributes:
        order: canonical axes cut, down and across.
        indices: of the slices in the mask; `near`, in the thinned scan.
        size: columns and rows of a slice as drawn.
        edges: letters of what lies to the left and at the top.
    """

    order: tuple[int, int, int]
    indices: list[int]
    near: list[int]
    size: tuple[int, int]
    edges: str

    def grey(self, thinned: NDArray[Any], window: tuple[float, float]) -> NDArray[np.uint8]:
        """(slices, rows, columns) of the scan."""
        shades = grey_of(thinned.transpose(self.order)[self.near], window)
        return np.ascontiguousarray(shades[:, ::-1, ::-1])

    def marks(self, mask: LabelMap) -> NDArray[Any]:
        """(slices, rows, columns) of a mask."""
        labels = mask.geometry.canonical(mask.data)
        return labels.transpose(self.order)[self.indices][:, ::-1, ::-1]


def _cut(thinned: NDArray[Any], steps: tuple[int, ...], mask: LabelMap) -> _Cut:
    labels = mask.geometry.canonical(mask.data)
    spacing = canonical_grid(mask.geometry).spacing_mm
    cut, across, up, edges = _scrolled(spacing)
    indices = chosen_slices(labels, cut, MOST_SLICES)
    near = [min(index // steps[cut], thinned.shape[cut] - 1) for index in indices]
    extent_mm = [labels.shape[axis] * spacing[axis] for axis in (across, up)]
    longest = min(LONGEST, max(thinned.shape[across], thinned.shape[up]))
    columns, rows = (max(1, round(longest * mm / max(extent_mm))) for mm in extent_mm)
    return _Cut((cut, up, across), indices, near, (columns, rows), edges)


def _scrolled(spacing_mm: Sequence[float]) -> tuple[int, int, int, str]:
    """The plane that slices lie in: axial, or across voxels that are much thicker one way."""
    thickest = int(np.argmax(spacing_mm))
    is_thick = spacing_mm[thickest] > 1.5 * float(np.median(spacing_mm))
    return next(plane for plane in PLANES if plane[0] == (thickest if is_thick else 2))
