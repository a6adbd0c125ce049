"""Dice of every label at once, for whoever wants a first look and no table of scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from medseg.metrics.counts import counts_of_masks


def dice_by_label(
    truth: NDArray[Any],
    prediction: NDArray[Any],
    labels: Mapping[str, int],
    *,
    ignore: int | None = None,
) -> dict[str, float]:
    """Name to Dice, 0 to 1, of the labels that truth or prediction holds.

    >>> import numpy as np
    >>> truth, prediction = np.array([1, 1, 2, 255]), np.array([1, 0, 2, 2])
    >>> dice_by_label(truth, prediction, {"liver": 1, "spleen": 2, "tumour": 3}, ignore=255)
    {'liver': 0.6666666666666666, 'spleen': 1.0}

    Args:
        truth: integers of any shape.
        prediction: of the same shape.
        labels: name to value, of those that the truth was drawn for.
        ignore: value of the truth whose voxels count as background of both.

    Raises:
        GridMismatch: the arrays differ in shape.
    """
    known = None if ignore is None else truth != ignore
    scores = {}
    for name, value in labels.items():
        predicted = prediction == value
        if known is not None:
            predicted &= known
        counts = counts_of_masks(truth == value, predicted)
        if counts.truth + counts.prediction:
            scores[name] = 2 * counts.both / (counts.truth + counts.prediction)
    return scores
