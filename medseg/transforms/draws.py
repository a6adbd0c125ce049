"""The random numbers of a batch of patches, drawn on the CPU and sent to the device at once.

Those of a patch depend on (seed, number of the patch) alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.config import AugmentConfig

#: Changes of intensity in the order in which they are made; each has its probability in the config.
KINDS = ("noise", "blur", "bias", "brightness", "contrast", "low_resolution", "gamma")

#: Control points of the bias field along each axis.
_BIAS_POINTS = 3

#: Voxels become at most so many times as long in the change ``low_resolution``.
_COARSEST = 2.0


@dataclass(frozen=True)
class Draws:
    """What happens to each patch of a batch; tensors lie on the batch's device.

    Attributes:
        matrix: (B, D, D) voxels from the middle of the patch to voxels from that of its source.
        field: (B, D, *coarse) displacement of control points in voxels, zeros where a patch is
            not deformed; ``None`` where none of them is.
        swapped: numbers within the batch of patches mirrored left to right; ``None`` for none.
        rows: kind of change -> numbers within the batch of the patches that it happens to;
            kinds that happen to none are left out.
        hosts: the same as Python numbers.
        amounts: kind -> how much, 0-1, of each of those.
        bias: (n, 1, *3) control points of the bias fields.
        lines: for each axis (n, 3, voxels) of the patches made coarser: two voxels and the
            share of the second, see :func:`coarse_lines`.
    """

    matrix: Tensor
    field: Tensor | None
    swapped: Tensor | None
    rows: Mapping[str, Tensor]
    hosts: Mapping[str, Sequence[int]]
    amounts: Mapping[str, Tensor]
    bias: Tensor | None
    lines: Sequence[Tensor]


def draw(
    config: AugmentConfig,
    patch: Sequence[int],
    spacing_mm: NDArray[np.float32],
    mirrors: Sequence[Sequence[int]],
    left_right: Sequence[int | None],
    seed: int,
    index: Sequence[int],
    device: torch.device,
) -> Draws:
    """Draw what happens to each patch of a batch.

    Args:
        config: what may happen, how often and how much.
        patch: voxels along each axis.
        spacing_mm: (B, D) of each patch.
        mirrors: axes along which each patch may be mirrored.
        left_right: the axis of each patch that runs left to right, if one does.
        seed: of the run.
        index: number of each patch in the run.
        device: where the result goes, in one copy.
    """
    dims = len(patch)
    coarse = [max(2, round(n / config.elastic_every) + 1) for n in patch]
    sizes = [1, 3, dims, dims, len(KINDS), len(KINDS)]
    uniform, normal = _numbers(seed, index, sum(sizes), dims * math.prod(coarse), dims)
    coin, angles, zoom, flip, chance, amount = np.split(uniform, np.cumsum(sizes)[:-1], axis=1)
    deforms = coin[:, 0] < config.spatial
    allowed = np.array([[axis in axes for axis in range(dims)] for axes in mirrors])
    flips = np.where(allowed & (flip < 0.5), -1.0, 1.0)
    arrays: dict[str, NDArray[np.float64]] = {
        "matrix": _matrices(config, deforms, flips, angles, zoom, spacing_mm)
    }
    if deforms.any() and config.elastic_voxels > 0:
        shifts = normal[:, : dims * math.prod(coarse)].reshape(len(index), dims, *coarse)
        moved = deforms.reshape(-1, *[1] * (dims + 1))
        arrays["field"] = shifts * moved * config.elastic_voxels
    turned = [b for b, axis in enumerate(left_right) if axis is not None and flips[b, axis] < 0]
    if turned:
        arrays["swapped"] = np.array(turned, dtype=float)
    hosts: dict[str, list[int]] = {}
    for number, kind in enumerate(KINDS):
        rows = np.flatnonzero(chance[:, number] < getattr(config, kind))
        if len(rows):
            hosts[kind] = rows.tolist()
            arrays[f"rows {kind}"] = rows.astype(float)
            arrays[f"amount {kind}"] = amount[rows, number]
    if "bias" in hosts:
        points = normal[hosts["bias"], dims * math.prod(coarse) :]
        arrays["bias"] = points.reshape(-1, 1, *[_BIAS_POINTS] * dims)
    if "low_resolution" in hosts:
        factors = 1 + (_COARSEST - 1) * arrays["amount low_resolution"]
        for axis, size in enumerate(patch):
            arrays[f"line {axis}"] = np.stack([coarse_lines(size, each) for each in factors])
    on_device = send(arrays, device)
    return Draws(
        matrix=on_device["matrix"],
        field=on_device.get("field"),
        swapped=on_device["swapped"].long() if turned else None,
        rows={kind: on_device[f"rows {kind}"].long() for kind in hosts},
        hosts=hosts,
        amounts={kind: on_device[f"amount {kind}"] for kind in hosts},
        bias=on_device.get("bias"),
        lines=[on_device[f"line {axis}"] for axis in range(dims) if f"line {axis}" in on_device],
    )


def send(arrays: Mapping[str, NDArray[np.float64]], device: torch.device) -> dict[str, Tensor]:
    """Arrays as float32 tensors on a device, by one copy that the host does not wait for."""
    together = torch.from_numpy(
        np.concatenate([each.ravel() for each in arrays.values()]).astype(np.float32)
    )
    if device.type == "cuda":
        together = together.pin_memory().to(device, non_blocking=True)
    parts = together.split([each.size for each in arrays.values()])
    return {
        name: part.view(each.shape)
        for (name, each), part in zip(arrays.items(), parts, strict=True)
    }


def coarse_lines(size: int, factor: float) -> NDArray[np.float64]:
    """A line of voxels seen through coarser ones: nearest to coarse, linear back.

    Args:
        size: voxels of the line.
        factor: how many times as long the coarse voxels are.

    Returns:
        (3, size): two voxels of the line that each voxel becomes a mean of, and the share of
        the second.

    >>> coarse_lines(4, 2.0)  # two coarse voxels, with the values of voxels 1 and 3
    array([[1.  , 1.  , 1.  , 3.  ],
           [3.  , 3.  , 3.  , 3.  ],
           [0.  , 0.25, 0.75, 0.25]])
    """
    few = max(1, round(size / factor))
    nearest = np.minimum(np.floor((np.arange(few) + 0.5) * size / few), size - 1)
    place = np.clip((np.arange(size) + 0.5) * few / size - 0.5, 0, None)
    low = np.minimum(place.astype(int), few - 1)
    high = np.minimum(low + 1, few - 1)
    return np.stack([nearest[low], nearest[high], place - low])


def _numbers(
    seed: int, index: Sequence[int], uniform: int, shifts: int, dims: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Uniform (B, uniform) and normal (B, shifts + bias points) numbers of each patch."""
    generators = [np.random.default_rng([seed, number, 1]) for number in index]
    flat = np.stack([each.random(uniform) for each in generators])
    normal = [each.standard_normal(shifts + _BIAS_POINTS**dims) for each in generators]
    return flat, np.stack(normal)


def _matrices(
    config: AugmentConfig,
    deforms: NDArray[np.bool_],
    flips: NDArray[np.float64],
    angles: NDArray[np.float64],
    zoom: NDArray[np.float64],
    spacing_mm: NDArray[np.float32],
) -> NDArray[np.float64]:
    """(B, D, D) mirror, turn and zoom about the middle; turned in mm, not in voxels."""
    dims = flips.shape[1]
    low, high = np.log(config.scale)
    shrunk = np.exp(-(low + (high - low) * zoom))
    turned = np.radians(config.rotate_degrees) * (2 * angles - 1)
    moved = _rotations(turned, dims) * shrunk[:, None, :]
    matrix = np.where(deforms[:, None, None], moved, np.eye(dims))
    return flips[:, :, None] * matrix * spacing_mm[:, None, :] / spacing_mm[:, :, None]


def _rotations(angles: NDArray[np.float64], dims: int) -> NDArray[np.float64]:
    """(B, D, D) from (B, 3) radians about each axis in turn; in 2D the first counts."""
    c, s = np.cos(angles), np.sin(angles)
    if dims == 2:
        rows = [np.stack([c[:, 0], -s[:, 0]], 1), np.stack([s[:, 0], c[:, 0]], 1)]
        return np.stack(rows, 1)
    matrix = np.broadcast_to(np.eye(3), (len(angles), 3, 3))
    for axis in range(3):
        i, j = [a for a in range(3) if a != axis]
        turn = np.tile(np.eye(3), (len(angles), 1, 1))
        turn[:, i, i] = turn[:, j, j] = c[:, axis]
        turn[:, i, j], turn[:, j, i] = -s[:, axis], s[:, axis]
        matrix = matrix @ turn
    return matrix
