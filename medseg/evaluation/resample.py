"""A prediction brought to the truth's grid by the nearest voxel, where the user asks for it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.volume import LabelMap

#: How near to halfway is halfway: headers round.
TIE_VOXELS = 1e-3


def nearest(mask: LabelMap, target: Geometry) -> NDArray[Any]:
    """(X, Y, Z) of the target: each voxel takes the mask's nearest voxel, 0 outside it.

    Any two grids will do, oblique and sheared ones too; one target slice at a time in memory.
    Halfway between two voxels, the one nearer to the middle of the mask's grid counts where the
    target lies beyond that middle, and the one farther away on its other side. The rule is the
    same for all planes of an axis: on a grid that is half a voxel off, none is doubled and none
    is dropped, the outermost ones included. It depends on no axis' direction.
    """
    to_source = np.asarray(np.linalg.solve(mask.geometry.affine, target.affine), np.float64)
    halves = _halves(to_source, mask.data.shape, target.shape)
    result = np.zeros(target.shape, dtype=mask.data.dtype)
    first, second = np.meshgrid(
        np.arange(target.shape[0]), np.arange(target.shape[1]), indexing="ij", sparse=True
    )
    for third in range(target.shape[2]):
        inside: NDArray[np.bool_] = np.ones(target.shape[:2], dtype=bool)
        index = []
        for axis in range(3):
            row = to_source[axis]
            exact = row[0] * first + row[1] * second + (row[2] * third + row[3])
            place = np.floor(exact + halves[axis])
            inside &= (place >= 0) & (place < mask.data.shape[axis])
            index.append(place.astype(np.intp))
        i, j, k = (axis[inside] for axis in index)
        result[:, :, third][inside] = mask.data[i, j, k]
    return result


def _halves(
    to_source: NDArray[np.float64], source: tuple[int, ...], target: tuple[int, ...]
) -> NDArray[np.float64]:
    """(3,) what is added before rounding down; where the target lies beyond, ties go back.

    Args:
        to_source: (4, 4) index of the target to index of the source.
        source: shape.
        target: shape.
    """
    middle = to_source @ np.array([*((n - 1) / 2 for n in target), 1])
    beyond = middle[:3] - (np.array(source) - 1) / 2
    return np.where(beyond > TIE_VOXELS, 0.5 - TIE_VOXELS, 0.5 + TIE_VOXELS)
