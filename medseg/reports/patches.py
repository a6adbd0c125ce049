"""A contact sheet of training patches with the truth outlined."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medseg.labels import LabelTable

#: Patches beside each other.
_COLUMNS = 6


def contact_sheet(
    images: NDArray[np.float32], classes: NDArray[np.int64], labels: LabelTable
) -> bytes:
    """A PNG: the middle slice of each patch, the outline of each label, what is not scored dim.

    Args:
        images: (N, C, *spatial) as the network sees them; the first channel is drawn.
        classes: (N, *spatial) class indices, -1 where not scored.
        labels: colours and names.
    """
    rows = -(-len(images) // _COLUMNS)
    figure = Figure(figsize=(2 * _COLUMNS, 2 * rows + 0.4), facecolor="black")
    for place, (image, truth) in enumerate(zip(images, classes, strict=True)):
        ax = figure.add_subplot(rows, _COLUMNS, place + 1)
        ax.set_axis_off()
        flat, flat_truth = _middle(image[0]), _middle(truth)
        low, high = np.percentile(flat, [1, 99])
        ax.imshow(flat.T, cmap="gray", origin="lower", vmin=low, vmax=max(high, low + 1e-6))
        ax.imshow(
            np.where(flat_truth.T == -1, 0.6, np.nan),
            cmap="gray",
            origin="lower",
            vmin=0,
            vmax=2,
            alpha=0.7,
        )
        for index, label in enumerate(labels.labels, start=1):
            if (flat_truth == index).any():
                mask = np.equal(flat_truth.T, index).astype(float)
                ax.contour(mask, [0.5], colors=label.colour, linewidths=1)
    names = "   ".join(labels.names[:8])
    figure.text(0.5, 0.005, f"outlined: {names}", color="white", ha="center", fontsize=9)
    figure.subplots_adjust(0, 0.4 / (2 * rows + 0.4), 1, 1, 0.02, 0.02)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, facecolor="black")
    return buffer.getvalue()


def _middle(array: NDArray[Any]) -> NDArray[Any]:
    """The array, or its middle slice along the last axis where there are three."""
    return array if array.ndim == 2 else np.asarray(array[..., array.shape[-1] // 2])
