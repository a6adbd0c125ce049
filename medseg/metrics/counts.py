"""How many voxels do truth and prediction share, and where?  One pass over both for all labels.

Neighbouring voxels mostly hold the same pair of values, so the pass goes over runs along the
fastest axis: a run counts its voxels and widens the box of its pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadLabels, GridMismatch

#: Voxels looked at together: small enough for the processor's cache.
SLAB_VOXELS = 1_000_000

Box = tuple[slice, slice, slice]


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


@dataclass(frozen=True, eq=False)
class Survey:
    """Every pair of values: how often, and in which box.

    Attributes:
        joint: (labels, labels) voxels of truth t and prediction p at [t, p].
        first: (3, labels, labels) lowest index along each axis.
        last: (3, labels, labels) highest index; below `first` where the pair does not occur.
    """

    joint: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    def counts(self, values: Sequence[int]) -> Counts:
        """The counts of a structure made of one or several values (a region)."""
        inside = np.asarray(values)
        both = int(self.joint[np.ix_(inside, inside)].sum())
        return Counts(
            both, int(self.joint[:, inside].sum()) - both, int(self.joint[inside, :].sum()) - both
        )

    def box(self, values: Sequence[int]) -> Box:
        """The smallest box around a structure in either mask; an empty one if it is in none."""
        inside = np.asarray(values)
        first = [min(low[inside, :].min(), low[:, inside].min()) for low in self.first]
        last = [max(high[inside, :].max(), high[:, inside].max()) for high in self.last]
        if last[0] < first[0]:
            return slice(0, 0), slice(0, 0), slice(0, 0)
        x, y, z = (slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True))
        return x, y, z


def survey(truth: NDArray[Any], prediction: NDArray[Any], labels: int) -> Survey:
    """Count and locate every pair of values.

    Args:
        truth: (X, Y, Z) integers from 0 to `labels` - 1; quickest in C order.
        prediction: the same of the prediction.
        labels: number of values, background included.

    Raises:
        GridMismatch: the arrays differ in shape.
        BadLabels: a value is negative, or `labels` or more.
    """
    _same_shape(truth, prediction)
    joint = np.zeros(labels * labels, dtype=np.int64)
    first = np.full((3, labels * labels), np.iinfo(np.int64).max)
    last = np.full((3, labels * labels), -1)
    thick = max(1, SLAB_VOXELS * truth.shape[0] // max(1, truth.size))
    for start in range(0, truth.shape[0], thick):
        stop = start + thick
        pairs = _joined(truth[start:stop], prediction[start:stop], labels)
        _survey_slab(pairs, start, joint, first, last)
    wide = (3, labels, labels)
    return Survey(joint.reshape(labels, labels), first.reshape(wide), last.reshape(wide))


def _joined(truth: NDArray[Any], prediction: NDArray[Any], labels: int) -> NDArray[Any]:
    """(x, Y, Z) one number for each pair of values, in the smallest type that holds it."""
    for name, values in (("truth", truth), ("prediction", prediction)):
        low = 0 if values.dtype.kind == "u" else int(values.min(initial=0))
        high = int(values.max(initial=0))
        if low < 0 or high >= labels:
            raise BadLabels(
                f"the {name} holds a value that no label has",
                found=low if low < 0 else high,
                expected=f"0 to {labels - 1}",
            )
    width = np.dtype(np.uint8 if labels <= 16 else np.uint16 if labels <= 256 else np.int64)
    pairs = np.empty(truth.shape, dtype=width)
    np.multiply(truth, width.type(labels), out=pairs, dtype=width, casting="unsafe")
    np.add(pairs, prediction, out=pairs, dtype=width, casting="unsafe")
    return pairs


def _survey_slab(
    pairs: NDArray[Any],
    offset: int,
    joint: NDArray[np.int64],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
) -> None:
    """Add the runs of a slab that starts at index `offset` to the tables."""
    breaks = np.empty(pairs.shape, dtype=bool)
    breaks[:, :, 0] = True
    np.not_equal(pairs[:, :, 1:], pairs[:, :, :-1], out=breaks[:, :, 1:])
    starts = np.flatnonzero(breaks)
    lengths = np.diff(starts, append=pairs.size)
    values = pairs.ravel().take(starts).astype(np.intp)
    joint += np.bincount(values, weights=lengths, minlength=joint.size).astype(np.int64)
    filled = np.flatnonzero(values)
    values, starts = values.take(filled), starts.take(filled)
    row, column = np.divmod(starts, pairs.shape[2])
    plane, line = np.divmod(row, pairs.shape[1])
    ends = column + lengths.take(filled) - 1
    for axis, (low, high) in enumerate(
        ((plane + offset, plane + offset), (line, line), (column, ends))
    ):
        np.minimum.at(first[axis], values, low)
        np.maximum.at(last[axis], values, high)


def counts_of_masks(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> Counts:
    """The counts of two masks.

    Raises:
        GridMismatch: the masks differ in shape.
    """
    _same_shape(truth, prediction)
    both = int(np.count_nonzero(truth & prediction))
    return Counts(
        both, int(np.count_nonzero(prediction)) - both, int(np.count_nonzero(truth)) - both
    )


def _same_shape(truth: NDArray[Any], prediction: NDArray[Any]) -> None:
    if truth.shape != prediction.shape:
        raise GridMismatch(
            "truth and prediction differ in shape", found=prediction.shape, expected=truth.shape
        )
