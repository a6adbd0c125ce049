"""Knows the slices of a scan again, whatever their order, direction, scaling and distance.

How often each value occurs in a plane is what a copy of some of the slices keeps, and what no
other patient's plane of that many values has.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Slices that two scans must share.
FEWEST_SLICES = 4

#: Steps between the least and the greatest value of a plane; no round number, so that integers do
#: not lie on the border between two.
_STEPS = 997.13

#: So many of the steps must occur: simple planes can be another scan's.
_RICH = 24

#: A plane that more scans than this share says nothing.
_COMMON = 16


def slice_marks(image: NDArray[Any]) -> frozenset[int]:
    """A number for the values of each plane across each axis; none for simple planes.

    Args:
        image: (X, Y, Z) stored values.

    >>> image = np.random.default_rng(0).normal(size=(9, 8, 20))
    >>> thinned = 3 * image[::-1, :, ::2] + 1
    >>> len(slice_marks(image) & slice_marks(thinned))
    10
    """
    stacks = [np.moveaxis(image, axis, 0) for axis in range(3) if image.shape[axis] > 1]
    marks = {_mark(plane) for stack in stacks for plane in stack}
    return frozenset(mark for mark in marks if mark is not None)


def shared_slices(scans: Sequence[frozenset[int]]) -> Iterator[tuple[int, int]]:
    """Pairs of scans that hold several slices of equal values, the earlier one first."""
    holders: dict[int, list[int]] = defaultdict(list)
    for number, marks in enumerate(scans):
        for mark in marks:
            holders[mark].append(number)
    shared: dict[tuple[int, int], int] = defaultdict(int)
    for numbers in holders.values():
        if len(numbers) <= _COMMON:
            for one, other in itertools.combinations(numbers, 2):
                shared[one, other] += 1
    yield from (pair for pair, count in shared.items() if count >= FEWEST_SLICES)


def _mark(plane: NDArray[Any]) -> int | None:
    values = plane.astype(np.float64)
    if plane.dtype.kind == "f":
        values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if values.size else (0.0, 0.0)
    if high <= low:
        return None
    steps = np.rint((values - low) * (_STEPS / (high - low))).astype(np.int64)
    counts = np.bincount(steps.ravel(), minlength=int(_STEPS) + 2)
    if np.count_nonzero(counts) < _RICH:
        return None
    return int.from_bytes(hashlib.blake2b(counts.tobytes(), digest_size=8).digest(), "big")
