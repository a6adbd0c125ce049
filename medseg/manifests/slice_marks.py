"""Knows the slices of a scan again, whatever their order, direction, scaling and distance.

The first three moments of a plane's values, between its least and its greatest one, are what a
copy of some of the slices keeps; planes of two patients do not agree in them to seven digits.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Slices that two scans must share.
FEWEST_SLICES = 4

#: Moments are from 0 to 1 and compared in so many steps.
_STEPS = 1e7

#: So many values must occur in a plane: a simpler one can be another scan's.
_RICH = 24

#: Voxels of a plane that are looked at for that.
_SAMPLE = 4096

#: A plane that more scans than this share says nothing.
_COMMON = 16

#: Voxels looked at in floating point at a time.
_SLAB_VOXELS = 1 << 22


def slice_marks(image: NDArray[Any]) -> frozenset[int]:
    """A number for the values of each plane across each axis; none for simple planes.

    Args:
        image: (X, Y, Z) stored values.

    >>> image = np.random.default_rng(0).normal(size=(9, 8, 20))
    >>> thinned = 3 * image[::-1, :, ::2] + 1
    >>> len(slice_marks(image) & slice_marks(thinned)) >= 9  # of 10: some lie between two steps
    True
    """
    stored = image if image.strides[0] >= image.strides[2] else image.transpose(2, 1, 0)
    with np.errstate(all="ignore"):  # planes that hold NaN have no mark
        moments = _plane_moments(stored)
    marks = set()
    for axis, each in enumerate(moments):
        stack = np.moveaxis(stored, axis, 0)
        if len(stack) > 1:
            size = stack[0].size
            marks |= {
                hash((size, *(int(part) for part in row)))
                for plane, row in zip(stack, each, strict=True)
                if row[0] > 0 and _is_rich(plane)
            }
    return frozenset(marks)


def _plane_moments(image: NDArray[Any]) -> list[NDArray[np.int64]]:
    """(planes, 3) for each axis: moments in steps; zeros for a plane of one value."""
    first = image[0][np.isfinite(image[0])]
    base = float(first.min()) if first.size else 0.0  # keeps powers small
    sums = [np.zeros((size, 3)) for size in image.shape]
    ends = [np.tile([np.inf, -np.inf], (size, 1)) for size in image.shape]
    thick = max(1, _SLAB_VOXELS // max(1, image[0].size))
    for start in range(0, len(image), thick):
        slab = image[start : start + thick].astype(np.float64)
        slab -= base
        own = slice(start, start + len(slab))
        for axis in range(3):
            rows = own if axis == 0 else slice(None)
            others = tuple(other for other in range(3) if other != axis)
            low, high = slab.min(others), slab.max(others)
            ends[axis][rows, 0] = np.minimum(ends[axis][rows, 0], low)
            ends[axis][rows, 1] = np.maximum(ends[axis][rows, 1], high)
        power = np.ones_like(slab)
        for degree in range(3):
            power *= slab
            for axis in range(3):
                rows = own if axis == 0 else slice(None)
                others = tuple(other for other in range(3) if other != axis)
                sums[axis][rows, degree] += power.sum(others)
    return [
        _moments(each / (image.size / len(each)), end) for each, end in zip(sums, ends, strict=True)
    ]


def _moments(raw: NDArray[np.float64], ends: NDArray[np.float64]) -> NDArray[np.int64]:
    """Mean powers about 0 to those of values that run from 0 to 1."""
    low, span = ends[:, 0], ends[:, 1] - ends[:, 0]
    first, second, third = raw.T
    about = [
        first - low,
        second - 2 * low * first + low**2,
        third - 3 * low * second + 3 * low**2 * first - low**3,
    ]
    scaled = np.stack([part / span**n for n, part in enumerate(about, start=1)], axis=1)
    scaled[~np.isfinite(scaled).all(axis=1)] = 0
    return np.rint(scaled * _STEPS).astype(np.int64)


def _is_rich(plane: NDArray[Any]) -> bool:
    values = plane.ravel()
    sample = np.sort(values[:: max(1, values.size // _SAMPLE)])
    return int(np.count_nonzero(sample[1:] != sample[:-1])) + 1 >= _RICH


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
