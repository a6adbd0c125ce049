"""Estimates whole structures from a truth that was drawn in part, such as scribbles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.volume import LabelMap

#: Voxels of a truth that are looked at; of a larger one every second, third ... along its axes.
MOST_VOXELS = 4_000_000


def filled(truth: LabelMap, ignore: int | None) -> tuple[NDArray[Any], float]:
    """Each ignored voxel as the nearest one, in mm, that was drawn.

    On scribbles of seven hearts, which hold 5 to 30 % of each structure, volumes so come to 0.7 to
    2.2 times the whole ones.

    Args:
        truth: with some ignored voxels.
        ignore: their value; ``None`` where there is none.

    Returns:
        (X, Y, Z) values, and the volume of each of these voxels in ml. A truth that is drawn
        throughout, or nowhere, is given as it is.
    """
    grid, data = truth.geometry, truth.data
    if ignore is None or not np.any(ignored := data == ignore) or ignored.all():
        return data, grid.voxel_ml
    from scipy import ndimage

    steps = [1, 1, 1]
    while data[_every(steps)].size > MOST_VOXELS:
        steps[int(np.argmax(data[_every(steps)].shape))] += 1
    part, unknown = data[_every(steps)], ignored[_every(steps)]
    nearest = ndimage.distance_transform_edt(
        unknown,
        sampling=np.multiply(grid.spacing_mm, steps),
        return_distances=False,
        return_indices=True,
    )
    return part[tuple(nearest)], grid.voxel_ml * data.size / part.size


def _every(steps: list[int]) -> tuple[slice, ...]:
    return tuple(slice(None, None, step) for step in steps)
