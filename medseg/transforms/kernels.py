"""Weights with which the voxels of an axis make those of another: kernels of interpolation.

Outside the source its border goes on. Where an axis shrinks, the kernel is widened, so that
nothing between two target voxels goes unseen: it is averaged over sqrt(step^2 - 1) source voxels.
A source voxel is a mean over its own width and a target voxel over `step` of them; that box adds
just the spread between the two, and since it is centred, a ramp stays where it is. Splines and
nearest voxels are the exceptions: they are never widened.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import AxisMap, nearest_voxel

Kernel: TypeAlias = Literal["linear", "cubic", "spline", "nearest"]

#: Source voxels on either side that a kernel reaches before it is widened. A spline reaches
#: everywhere; beyond this it weighs less than 1e-7.
SUPPORT: dict[Kernel, int] = {"linear": 1, "cubic": 2, "spline": 14}

#: Cardinal cubic B-splines fall off by this factor a voxel.
_POLE = math.sqrt(3) - 2


@dataclass(frozen=True, eq=False)
class AxisWeights:
    """Which source voxels of an axis make each target voxel, and how much of each.

    Attributes:
        index: (size, taps) source voxels; the border stands in for voxels outside.
        weight: (size, taps) float64, every row adds up to 1.
        is_copy: whether target voxels are source voxels as they are.
    """

    index: NDArray[np.int64]
    weight: NDArray[np.float64]
    is_copy: bool

    def span(self, part: slice) -> slice:
        """The source voxels that the target voxels of `part` need."""
        index = self.index[part]
        return slice(int(index.min()), int(index.max()) + 1)

    def matrix(self, part: slice) -> NDArray[np.float64]:
        """(target voxels of `part`, source voxels of its span) dense weights."""
        index, weight, span = self.index[part], self.weight[part], self.span(part)
        dense = np.zeros((len(index), span.stop - span.start))
        rows = np.broadcast_to(np.arange(len(index))[:, None], index.shape)
        np.add.at(dense, (rows, index - span.start), weight)
        return dense


def axis_weights(axis: AxisMap, kernel: Kernel, *, antialias: bool = True) -> AxisWeights:
    """Interpolation weights of one axis of a separable map.

    Args:
        axis: where the target voxels lie in the source.
        kernel: ``linear`` (a triangle), ``cubic`` (Keys 1981, a = -1/2,
            doi:10.1109/TASSP.1981.1163711), ``spline`` (the cubic B-spline through the voxels,
            Unser 1999, doi:10.1109/79.799930) or ``nearest``; the last two are never widened.
        antialias: widen the kernel where the axis shrinks.
    """
    if axis.is_copy:
        index = np.rint(axis.source_index()).astype(np.int64)[:, None]
        return AxisWeights(index, np.ones(index.shape), is_copy=True)
    position = axis.source_index()
    if kernel == "nearest":
        return _nearest(position, axis.source_size)
    widened = antialias and kernel != "spline"
    width = math.sqrt(max(0.0, axis.step**2 - 1)) if widened else 0.0
    reach = SUPPORT[kernel] + width / 2
    taps = math.ceil(2 * reach) + 1
    index = np.floor(position - reach).astype(np.int64)[:, None] + np.arange(taps)
    weight = _averaged(kernel, index - position[:, None], width)
    weight /= weight.sum(axis=1, keepdims=True)
    return AxisWeights(index.clip(0, axis.source_size - 1), weight, is_copy=False)


def _nearest(position: NDArray[np.float64], size: int) -> AxisWeights:
    index = nearest_voxel(position).astype(np.int64).clip(0, size - 1)
    return AxisWeights(index[:, None], np.ones((len(index), 1)), is_copy=True)


def _averaged(kernel: Kernel, offset: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """The kernel, averaged over `width` source voxels about each offset."""
    if width < 1e-3:
        if kernel == "spline":
            return _cardinal_spline(offset)
        distance = np.abs(offset)
        return np.maximum(0, 1 - distance) if kernel == "linear" else _keys(distance)
    integral = _triangle_integral if kernel == "linear" else _keys_integral
    return (integral(offset + width / 2) - integral(offset - width / 2)) / width


def _keys(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


def _cardinal_spline(offset: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cubic spline that is 1 at 0 and 0 at all other whole numbers.

    B-splines about whole numbers k weigh sqrt(3) * pole^|k|: the inverse of (1, 4, 1) / 6.
    """
    first = np.floor(offset) - 1
    total = np.zeros_like(offset)
    for more in range(4):
        number = first + more
        distance = np.abs(offset - number)
        near = 2 / 3 - distance**2 + distance**3 / 2
        far = np.maximum(2 - distance, 0) ** 3 / 6
        total += math.sqrt(3) * _POLE ** np.abs(number) * np.where(distance < 1, near, far)
    return total


def _triangle_integral(offset: NDArray[np.float64]) -> NDArray[np.float64]:
    distance = np.minimum(np.abs(offset), 1)
    return np.asarray(np.sign(offset) * (distance - distance**2 / 2))


def _keys_integral(offset: NDArray[np.float64]) -> NDArray[np.float64]:
    near = np.minimum(np.abs(offset), 1)
    far = np.clip(np.abs(offset), 1, 2)
    inner = near**4 * 3 / 8 - near**3 * 5 / 6 + near
    outer = (1 - far**4) / 8 + (far**3 - 1) * 5 / 6 - 2 * (far - 1) ** 2 - 2 * (far - 1)
    return np.asarray(np.sign(offset) * (inner + outer))
