"""Voxels that truth and prediction share, and where: one pass over both for all labels.

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
from medseg.geometry import Box

#: Voxels looked at together: small enough for the processor's cache.
SLAB_VOXELS = 1_000_000

#: Up to this value, values are their own places in tables; above, only those that occur are.
_SMALL = 255


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
    """Every pair of values that occurs: how often, and in which box.

    Memory grows with the pairs that occur, whatever the values are.

    Attributes:
        truth: (P,) value of the truth in each pair.
        prediction: (P,) value of the prediction.
        voxels: (P,) how many voxels hold both.
        first: (3, P) lowest index along each axis; of any value for background on both sides.
        last: (3, P) highest index.
    """

    truth: NDArray[np.int64]
    prediction: NDArray[np.int64]
    voxels: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    def counts(self, values: Sequence[int]) -> Counts:
        """The counts of a structure made of one or several values (a region)."""
        in_truth, in_prediction = self._inside(values)
        both = int(self.voxels[in_truth & in_prediction].sum())
        return Counts(
            both,
            int(self.voxels[in_prediction].sum()) - both,
            int(self.voxels[in_truth].sum()) - both,
        )

    def box(self, values: Sequence[int]) -> Box:
        """The smallest box around a structure in either mask; an empty one if it is in none."""
        in_truth, in_prediction = self._inside(values)
        there = in_truth | in_prediction
        if not there.any():
            return slice(0, 0), slice(0, 0), slice(0, 0)
        x, y, z = (
            slice(int(low), int(high) + 1)
            for low, high in zip(
                self.first[:, there].min(axis=1), self.last[:, there].max(axis=1), strict=True
            )
        )
        return x, y, z

    def _inside(self, values: Sequence[int]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which pairs hold one of the values in the truth, and in the prediction."""
        if len(values) == 1:
            return self.truth == values[0], self.prediction == values[0]
        return np.isin(self.truth, values), np.isin(self.prediction, values)


def survey(
    truth: NDArray[Any],
    prediction: NDArray[Any],
    values: Sequence[int],
    *,
    ignore: int | None = None,
) -> Survey:
    """Count and locate every pair of values.

    Args:
        truth: (X, Y, Z) integers, 0 or more; quickest in C order.
        prediction: the same of the prediction.
        values: those of interest, 1 or more; others count as background.
        ignore: value of the truth whose voxels count as background of both.

    Raises:
        GridMismatch: the arrays differ in shape.
        BadLabels: a value is negative, or higher than all those of interest.
    """
    _same_shape(truth, prediction)
    highest = max(*values, ignore or 0)
    for name, array in (("truth", truth), ("prediction", prediction)):
        _refuse_beyond(name, array, highest)
    places = _places(values, highest)
    known = np.arange(highest + 1) if places is None else np.array([0, *values])
    thick = max(1, SLAB_VOXELS * truth.shape[0] // max(1, truth.size))
    parts = []
    for start in range(0, truth.shape[0], thick):
        slab = slice(start, start + thick)
        both = truth[slab], prediction[slab]
        if places is not None:
            both = places[both[0]], places[both[1]]
        pairs = _joined(*both, len(known))
        if ignore is not None:
            pairs[truth[slab] == ignore] = 0
        parts.append(_survey_slab(pairs, start, len(known) ** 2))
    keys, voxels, first, last = _merged(parts)
    return Survey(known[keys // len(known)], known[keys % len(known)], voxels, first, last)


def _refuse_beyond(name: str, array: NDArray[Any], highest: int) -> None:
    low = 0 if array.dtype.kind == "u" else int(array.min(initial=0))
    high = int(array.max(initial=0))
    if low < 0 or high > highest:
        raise BadLabels(
            f"the {name} holds a value that no label has",
            found=low if low < 0 else high,
            expected=f"0 to {highest}",
        )


def _places(values: Sequence[int], highest: int) -> NDArray[np.integer[Any]] | None:
    """(highest + 1,) the place of each value in `known`; ``None`` where it is the value itself."""
    if highest <= _SMALL:
        return None
    places = np.zeros(highest + 1, dtype=np.min_scalar_type(len(values)))
    places[list(values)] = np.arange(1, len(values) + 1)
    return places


def _joined(truth: NDArray[Any], prediction: NDArray[Any], known: int) -> NDArray[Any]:
    """(x, Y, Z) one number for each pair of places, in the smallest type that holds it."""
    width = np.dtype(np.uint8 if known <= 16 else np.uint16 if known <= 256 else np.int64)
    pairs = np.empty(truth.shape, dtype=width)
    np.multiply(truth, width.type(known), out=pairs, dtype=width, casting="unsafe")
    np.add(pairs, prediction, out=pairs, dtype=width, casting="unsafe")
    return pairs


#: Keys, voxels, first and last index of the pairs of a slab.
_Part = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def _survey_slab(pairs: NDArray[Any], offset: int, possible: int) -> _Part:
    """Count and locate the runs of a slab that starts at index `offset`."""
    breaks = np.empty(pairs.shape, dtype=bool)
    breaks[:, :, :1] = True
    np.not_equal(pairs[:, :, 1:], pairs[:, :, :-1], out=breaks[:, :, 1:])
    starts = np.flatnonzero(breaks)
    lengths = np.diff(starts, append=pairs.size)
    of_runs = pairs.ravel().take(starts).astype(np.intp)
    if possible <= (_SMALL + 1) ** 2:
        keys, which = np.arange(possible), of_runs
    else:
        keys, which = np.unique(of_runs, return_inverse=True)
    voxels = np.bincount(which, weights=lengths, minlength=len(keys)).astype(np.int64)
    first = np.full((3, len(keys)), np.iinfo(np.int64).max)
    last = np.full((3, len(keys)), -1)
    filled = np.flatnonzero(of_runs)  # nobody asks where background is
    which, starts = which.take(filled), starts.take(filled)
    row, column = np.divmod(starts, pairs.shape[2])
    plane, line = np.divmod(row, pairs.shape[1])
    ends = column + lengths.take(filled) - 1
    for axis, (low, high) in enumerate(
        ((plane + offset, plane + offset), (line, line), (column, ends))
    ):
        np.minimum.at(first[axis], which, low)
        np.maximum.at(last[axis], which, high)
    there = np.flatnonzero(voxels)
    return keys[there], voxels[there], first[:, there], last[:, there]


def _merged(parts: Sequence[_Part]) -> _Part:
    """The pairs of all slabs, each once."""
    if not parts:
        none = np.zeros(0, dtype=np.int64)
        return none, none, np.zeros((3, 0), dtype=np.int64), np.zeros((3, 0), dtype=np.int64)
    keys, which = np.unique(np.concatenate([part[0] for part in parts]), return_inverse=True)
    voxels = np.zeros(len(keys), dtype=np.int64)
    np.add.at(voxels, which, np.concatenate([part[1] for part in parts]))
    first = np.full((3, len(keys)), np.iinfo(np.int64).max)
    last = np.full((3, len(keys)), -1)
    for axis in range(3):
        np.minimum.at(first[axis], which, np.concatenate([part[2][axis] for part in parts]))
        np.maximum.at(last[axis], which, np.concatenate([part[3][axis] for part in parts]))
    return keys, voxels, first, last


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
