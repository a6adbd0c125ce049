"""The box of voxels that a mask or a scan fills."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Box


def box_of_values(data: NDArray[Any], values: Sequence[int] = ()) -> Box | None:
    """The smallest box around some of a mask's values; ``None`` where none of them occurs.

    A plane at a time, in the order in which the voxels lie in memory.

    >>> mask = np.zeros((4, 5, 6), np.uint8)
    >>> mask[1:3, 2, 4:] = 7
    >>> [(side.start, side.stop) for side in box_of_values(mask)]
    [(1, 3), (2, 3), (4, 6)]

    Args:
        data: (X, Y, Z) integers.
        values: those of interest; all but 0 where none is named.
    """
    return _box_where(data, lambda plane: np.isin(plane, values) if values else plane > 0)


def box_above_lowest(image: NDArray[Any]) -> Box:
    """The smallest box around what is above the lowest value of its channel; all where none is.

    Air that was set to one value is left out; noise is content.

    >>> image = np.full((1, 4, 5, 6), -1024, np.int16)
    >>> image[0, 1:3, 2, 4:] = 40
    >>> [(side.start, side.stop) for side in box_above_lowest(image)]
    [(1, 3), (2, 3), (4, 6)]

    Args:
        image: (C, X, Y, Z); values that are no number are no content.
    """
    boxes_of_channels = [
        _box_where(data, partial(np.less, np.fmin.reduce(data, axis=None))) for data in image
    ]
    boxes = [box for box in boxes_of_channels if box is not None]
    if not boxes:
        return slice(0, image.shape[1]), slice(0, image.shape[2]), slice(0, image.shape[3])
    x, y, z = (
        slice(min(side.start for side in sides), max(side.stop for side in sides))
        for sides in zip(*boxes, strict=True)
    )
    return x, y, z


def _box_where(
    data: NDArray[Any], is_inside: Callable[[NDArray[Any]], NDArray[np.bool_]]
) -> Box | None:
    thickest = int(np.argmax(data.strides))
    others = [axis for axis in range(3) if axis != thickest]
    seen = [np.zeros(n, dtype=bool) for n in data.shape]
    for at, plane in enumerate(np.moveaxis(data, thickest, 0)):
        inside = is_inside(plane)
        if inside.any():
            seen[thickest][at] = True
            seen[others[0]] |= inside.any(axis=1)
            seen[others[1]] |= inside.any(axis=0)
    if not seen[0].any():
        return None
    x, y, z = (np.flatnonzero(along)[[0, -1]] for along in seen)
    return (
        slice(int(x[0]), int(x[1]) + 1),
        slice(int(y[0]), int(y[1]) + 1),
        slice(int(z[0]), int(z[1]) + 1),
    )
