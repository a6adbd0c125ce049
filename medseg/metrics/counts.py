"""How many voxels do truth and prediction share?  One pass over both for all labels at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadLabels, GridMismatch

#: Voxels counted at a time, so that the 8-byte indices of ``bincount`` stay below 32 MB.
SLAB_VOXELS = 4_000_000


@dataclass(frozen=True)
class Counts:
    """Voxels of one structure.

    Attributes:
        both: in truth and prediction (true positives).
        only_prediction: false positives.
        only_truth: false negatives.
    """

    both: int
    only_prediction: int
    only_truth: int

    @property
    def truth(self) -> int:
        """Voxels of the truth."""
        return self.both + self.only_truth

    @property
    def prediction(self) -> int:
        """Voxels of the prediction."""
        return self.both + self.only_prediction


def joint_counts(
    truth: NDArray[Any], prediction: NDArray[Any], labels: int
) -> NDArray[np.int64]:
    """How often each pair of values occurs.

    Args:
        truth: (X, Y, Z) integers from 0 to `labels` - 1.
        prediction: the same of the prediction.
        labels: number of values, background included.

    Returns:
        (labels, labels): entry [t, p] counts voxels of truth t and prediction p.

    Raises:
        GridMismatch: the arrays differ in shape.
        BadLabels: a value is negative, or `labels` or more.
    """
    if truth.shape != prediction.shape:
        raise GridMismatch("truth and prediction differ in shape", found=prediction.shape,
                           expected=truth.shape)
    joint = np.zeros(labels * labels, dtype=np.int64)
    axis = int(np.argmax(np.abs(truth.strides)))  # the slowest axis: slabs lie together
    thick = max(1, SLAB_VOXELS * truth.shape[axis] // max(1, truth.size))
    for start in range(0, truth.shape[axis], thick):
        slab = (slice(None),) * axis + (slice(start, start + thick),)
        joint += _count_slab(truth[slab], prediction[slab], labels)
    return joint.reshape(labels, labels)


def _count_slab(truth: NDArray[Any], prediction: NDArray[Any], labels: int) -> NDArray[np.int64]:
    for name, values in (("truth", truth), ("prediction", prediction)):
        low, high = int(values.min(initial=0)), int(values.max(initial=0))
        if low < 0 or high >= labels:
            raise BadLabels(f"the {name} holds a value that no label has",
                            found=low if low < 0 else high, expected=f"0 to {labels - 1}")
    width = np.dtype(np.uint8 if labels <= 16 else np.uint16 if labels <= 256 else np.intp)
    index: NDArray[Any] = truth.astype(width, order="K")
    np.multiply(index, width.type(labels), out=index)
    np.add(index, prediction.astype(width, copy=False), out=index)
    counted = np.bincount(index.ravel(order="K"), minlength=labels * labels)
    return counted[: labels * labels]


def counts_of(joint: NDArray[np.int64], values: Sequence[int]) -> Counts:
    """The counts of a structure made of one or several values (a region)."""
    inside = np.asarray(values)
    both = int(joint[np.ix_(inside, inside)].sum())
    return Counts(both, int(joint[:, inside].sum()) - both, int(joint[inside, :].sum()) - both)


def counts_of_masks(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> Counts:
    """The counts of two masks.

    Raises:
        GridMismatch: the masks differ in shape.
    """
    if truth.shape != prediction.shape:
        raise GridMismatch("truth and prediction differ in shape", found=prediction.shape,
                           expected=truth.shape)
    both = int(np.count_nonzero(truth & prediction))
    return Counts(both, int(np.count_nonzero(prediction)) - both,
                  int(np.count_nonzero(truth)) - both)
