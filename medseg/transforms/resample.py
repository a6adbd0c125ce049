"""Resample an array of one grid onto another grid along the same axes.

Both grids share their axes up to order, direction, spacing and offset, so that a resampling is
one small matrix an axis; :mod:`medseg.transforms.kernels` makes its weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.geometry import Geometry, GridMap, grid_map
from medseg.transforms.kernels import AxisWeights, Kernel, axis_weights
from medseg.volume import Measure

#: Source voxels (times channels) that are held in floating point at a time.
BLOCK_VOXELS = 1 << 24

#: Stored numbers that torch takes as they are.
_TRAVELLING = (np.uint8, np.int8, np.int16, np.int32, np.float32)

#: Target voxels along an axis that share one small matrix; more would multiply mostly zeros.
BAND = 32


def resample(
    array: torch.Tensor | NDArray[Any],
    source: Geometry,
    target: Geometry,
    *,
    kernel: Kernel | Sequence[Kernel] = "linear",
    antialias: bool = True,
    measure: Measure | None = None,
    device: torch.device | None = None,
) -> torch.Tensor:
    """(C, X, Y, Z) of any number type on one grid to (C, X', Y', Z') float32 on another.

    float64 stays float64. Beside the result, memory holds a block of `BLOCK_VOXELS` at a time.

    Args:
        array: what is resampled.
        source: the grid it lies on.
        target: the grid of the result.
        kernel: how values between voxels are interpolated, along each axis of the target or
            along all; what splines give keeps to the range of their source.
        antialias: widen the kernel where an axis shrinks.
        measure: makes float32 of the array's numbers, a block at a time.
        device: where to calculate and where the result stays; where the array is by default.
            A GPU holds the stored numbers whole meanwhile.

    Raises:
        GridMismatch: the axes of the two grids are not parallel.
    """
    axes = grid_map(source, target)
    kernels = [kernel] * 3 if isinstance(kernel, str) else list(kernel)
    plans = [
        axis_weights(axis.forwards(), kind, antialias=antialias)
        for axis, kind in zip(axes, kernels, strict=True)
    ]
    if device is not None:
        array = _brought(array, device)
    turned = turn_to(array, axes)
    channels, longest = turned.shape[0], int(np.argmax(turned.shape[1:]))
    double = "float64" in str(turned.dtype) and measure is None
    kind = torch.float64 if double else torch.float32
    device = array.device if isinstance(array, torch.Tensor) else torch.device("cpu")
    result = torch.empty((channels, *target.shape), dtype=kind, device=device)
    for channel in range(channels):
        for part in _parts(plans, turned.shape[1:], longest):
            spans = [plan.span(slice(None)) for plan in plans]
            spans[longest] = plans[longest].span(part)
            parts = [slice(None)] * 3
            parts[longest] = part
            box = (channel, spans[0], spans[1], spans[2])
            block = _block(turned[box], kind, measure)
            for axis in shrinking_first(plans, spans, parts):
                block = apply_weights(block, plans[axis], parts[axis], axis)
            result[channel].narrow(longest, part.start, part.stop - part.start).copy_(block)
        if "spline" in kernels:
            low, high = _range(turned[channel], kernels, plans, measure)
            torch.clamp(result[channel], low.to(result), high.to(result), out=result[channel])
    return result


def _range(
    channel: torch.Tensor | NDArray[Any],
    kernels: Sequence[Kernel],
    plans: Sequence[AxisWeights],
    measure: Measure | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Least and greatest source value for each target voxel, of one size along splined axes."""
    mixed = tuple(axis for axis in range(3) if kernels[axis] != "nearest")
    values = np.asarray(channel.cpu() if isinstance(channel, torch.Tensor) else channel)
    ends = np.stack([values.min(axis=mixed, keepdims=True), values.max(axis=mixed, keepdims=True)])
    for axis in range(3):
        if axis not in mixed:
            ends = ends.take(plans[axis].index[:, 0], axis=axis + 1)
    ends = np.sort(ends if measure is None else measure(ends), axis=0)
    return torch.from_numpy(ends[0]), torch.from_numpy(ends[1])


def _brought(
    array: torch.Tensor | NDArray[Any], device: torch.device
) -> torch.Tensor | NDArray[Any]:
    """The array where it is calculated; what lies on the CPU stays as it is.

    Numbers travel as they are stored and in the order in which they lie in memory: half the
    bytes of float32, and nothing is rearranged on the way.
    """
    if isinstance(array, torch.Tensor):
        return array.to(device)
    if device.type == "cpu":
        return array
    if array.dtype.type not in _TRAVELLING or not array.dtype.isnative:
        array = array.astype(np.float32)  # exact or rounded, as `Measure` would
    order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    arranged = np.ascontiguousarray(array.transpose(order))
    if not arranged.flags.writeable:
        arranged = arranged.copy()  # torch warns of what cannot be written
    on_device = torch.from_numpy(arranged).to(device)
    return on_device.permute([order.index(axis) for axis in range(array.ndim)])


def turn_to(array: torch.Tensor | NDArray[Any], axes: GridMap) -> torch.Tensor | NDArray[Any]:
    """The source with its axes in the order and direction of the target's; a view of an array."""
    order = [0, *(1 + axis.source_axis for axis in axes)]
    backwards = [1 + axis for axis, way in enumerate(axes) if way.step < 0]
    if isinstance(array, torch.Tensor):
        turned = array.permute(order)
        return turned.flip(backwards) if backwards else turned
    return np.asarray(np.flip(array.transpose(order), tuple(backwards)))


def _parts(plans: Sequence[AxisWeights], shape: Sequence[int], axis: int) -> list[slice]:
    """Target voxels along `axis`, cut so that the source of each part fits a block."""
    plane = int(np.prod([n for other, n in enumerate(shape) if other != axis]))
    size = len(plans[axis].index)
    step = max(1, int(BLOCK_VOXELS / plane * size / shape[axis]))
    return [slice(start, min(size, start + step)) for start in range(0, size, step)]


def _block(
    part: torch.Tensor | NDArray[Any], kind: torch.dtype, measure: Measure | None
) -> torch.Tensor:
    if isinstance(part, torch.Tensor):
        values = part.to(kind) if measure is None else _measured(part, measure)
        return values.contiguous()
    number = np.float64 if kind == torch.float64 else np.float32
    return torch.from_numpy((part if measure is None else measure(part)).astype(number, order="C"))


def _measured(part: torch.Tensor, measure: Measure) -> torch.Tensor:
    """What `Measure` does, on the tensor's device."""
    shift, scale, rest = measure.scaling
    values = part.to(torch.float32, copy=True)
    if shift != 0:
        values -= shift
    if scale != 1:
        values *= scale
    if rest != 0:
        values += rest
    if measure.filler is not None:
        padding, lowest = (float(value) for value in measure.filler)
        values.masked_fill_((values - padding).abs() < 0.5, lowest)
    return values


def shrinking_first(
    plans: Sequence[AxisWeights], spans: Sequence[slice], parts: Sequence[slice]
) -> list[int]:
    """The axes in the order in which resampling them is cheapest."""
    growth = [
        len(plan.index[part]) / (span.stop - span.start)
        for plan, span, part in zip(plans, spans, parts, strict=True)
    ]
    return sorted(range(3), key=lambda axis: growth[axis])


def apply_weights(block: torch.Tensor, plan: AxisWeights, part: slice, axis: int) -> torch.Tensor:
    """Resample one axis of an (X, Y, Z) block that starts at the span of `part`."""
    index = plan.index[part]
    offset = int(index.min())
    if plan.is_copy:
        wanted = torch.as_tensor(index[:, 0] - offset, device=block.device)
        if torch.equal(wanted, torch.arange(block.shape[axis], device=block.device)):
            return block
        return block.index_select(axis, wanted)
    first = part.indices(len(plan.index))[0]
    shape = [*block.shape[:axis], len(index), *block.shape[axis + 1 :]]
    result = block.new_empty(shape)
    for start in range(0, len(index), BAND):
        stop = min(len(index), start + BAND)
        band = slice(first + start, first + stop)
        span = plan.span(band)
        matrix = torch.as_tensor(plan.matrix(band), dtype=block.dtype, device=block.device)
        source = block.narrow(axis, span.start - offset, span.stop - span.start)
        result.narrow(axis, start, stop - start).copy_(_multiply(matrix, source, axis))
    return result


def _multiply(matrix: torch.Tensor, block: torch.Tensor, axis: int) -> torch.Tensor:
    result: torch.Tensor
    if axis == 2:
        result = block @ matrix.T
    elif axis == 1:
        result = matrix @ block
    else:
        result = (matrix @ block.flatten(1)).unflatten(1, block.shape[1:])
    return result
