"""Fills voxels with tissues: parts painted on a finer grid, averaged voxel by voxel."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Box, Geometry
from medseg.phantoms.anatomy import Anatomy, Part

#: Partial volume: a voxel is the mean of points about this far apart, 2 or 3 along each axis.
SAMPLE_MM = 2.5

#: Points painted at a time; bounds the memory.
POINTS_AT_A_TIME = 3_000_000


def tissues_of(patient: Anatomy) -> list[str]:
    """Every tissue that occurs; the first is the air around the patient."""
    return list(dict.fromkeys(["air", *(part.tissue for part in patient.parts)]))


def tissue_averages(
    patient: Anatomy, grid: Geometry, values: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Average over each voxel of quantities that depend on the tissue.

    Args:
        patient: who.
        grid: the voxels.
        values: (N, T) quantities of the T tissues in the order of `tissues_of`.

    Returns:
        (N, X, Y, Z).
    """
    tissues, samples = tissues_of(patient), _samples(grid)
    averages = np.zeros((len(values), *grid.shape), np.float32)
    for planes in _slabs(grid, samples):
        painted = _paint(patient, tissues, _fine(grid, planes, samples))
        for offset in itertools.product(*(range(n) for n in samples)):
            x, y, z = (slice(start, None, n) for start, n in zip(offset, samples, strict=True))
            averages[..., planes] += values[:, painted[x, y, z]]
    averages /= math.prod(samples)
    return averages


def box_of(part: Part, patient: Anatomy, grid: Geometry) -> Box:
    """The part of a grid that can hold a part's points."""
    low, high = part.shape.box_mm()
    reach = patient.warp.reach_mm + 1e-3
    ends = np.stack([low - reach, high + reach]) + patient.warp.offset_mm
    index = grid.to_index(list(itertools.product(*ends.T)))
    first = np.clip(np.ceil(index.min(axis=0)), 0, grid.shape).astype(int)
    last = np.clip(np.floor(index.max(axis=0)) + 1, first, grid.shape).astype(int)
    x, y, z = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    return x, y, z


def centres_mm(grid: Geometry) -> NDArray[np.float64]:
    """(X, Y, Z, 3) RAS mm of all voxel centres."""
    return grid.to_world(np.moveaxis(np.indices(grid.shape, dtype=np.float64), 0, -1))


def _paint(patient: Anatomy, tissues: Sequence[str], grid: Geometry) -> NDArray[np.uint8]:
    """(X, Y, Z) index into `tissues` of every point of a fine grid."""
    points = patient.warp(centres_mm(grid).astype(np.float32))
    painted = np.zeros(grid.shape, np.uint8)
    number = {tissue: index for index, tissue in enumerate(tissues)}
    for part in patient.parts:
        box = box_of(part, patient, grid)
        target = painted[box]
        if not target.size:
            continue
        inside = part.shape.inside(points[box])
        if part.within:
            inside &= np.isin(target, [number[name] for name in part.within if name in number])
        target[inside] = number[part.tissue]
    return painted


def _samples(grid: Geometry) -> tuple[int, int, int]:
    x, y, z = (min(3, max(2, math.ceil(mm / SAMPLE_MM - 0.01))) for mm in grid.spacing_mm)
    return x, y, z


def _slabs(grid: Geometry, samples: tuple[int, int, int]) -> list[slice]:
    per_plane = grid.shape[0] * grid.shape[1] * math.prod(samples)
    step = max(1, POINTS_AT_A_TIME // per_plane)
    return [slice(k, min(k + step, grid.shape[2])) for k in range(0, grid.shape[2], step)]


def _fine(grid: Geometry, planes: slice, samples: tuple[int, int, int]) -> Geometry:
    """The points that fill the voxels of some planes evenly."""
    x, y, z = grid.shape[0] * samples[0], grid.shape[1] * samples[1], samples[2]
    steps = np.asarray(samples)
    affine = grid.affine.copy()
    affine[:3, :3] /= steps
    affine[:3, 3] = grid.to_world(0.5 / steps - 0.5 + [0, 0, planes.start])
    return Geometry((x, y, z * (planes.stop - planes.start)), affine)
