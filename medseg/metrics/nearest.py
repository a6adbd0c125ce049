"""Distance of each cube of one surface to the nearest cube of another: exact, and quick.

Predictions lie near their truth, so most distances are a voxel or two: a few dozen lattice
steps, tried in order of their length, find these. What is left goes to a k-d tree. The cost
grows with the surfaces, not with the voxels between them, and any affine is exact.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

#: Cubes around the crop, so that a lattice step never leaves the array.
REACH = 2

#: Lattice steps tried at once.
RING = 32

#: Below this many distances, computing all of them is quicker than growing a tree.
FEW_DISTANCES = 100_000


def passes(codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a surface passes: neither all corners outside (0) nor all inside (255)."""
    return (codes - np.uint8(1)) < np.uint8(254)


def nearest_mm(
    cubes: NDArray[np.intp],
    others: NDArray[np.intp],
    other_codes: NDArray[np.uint8],
    steps_mm: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(N,) distance of each cube's centre to the nearest centre of the others, in mm.

    Args:
        cubes: (N,) flat indices into the codes' array; not within `REACH` of its border.
        others: (M,) flat indices of the cubes where the other surface passes, M > 0.
        other_codes: (X, Y, Z) corner codes of the other surface, C order.
        steps_mm: (3, 3) steps of the grid, one a column.
    """
    flat = other_codes.ravel()
    mm = np.zeros(len(cubes))
    left = np.flatnonzero(~passes(flat.take(cubes)))
    jumps, lengths = _lattice_steps(other_codes.shape, steps_mm.tobytes())
    for start in range(0, len(jumps), RING):
        if len(left) == 0:
            return mm
        ring = jumps[start : start + RING]
        hits = passes(flat.take(cubes[left, None] + ring))
        first = hits.argmax(axis=1)
        hit = hits[np.arange(len(left)), first]
        mm[left[hit]] = lengths[start + first[hit]]
        left = left[~hit]
    if len(left):
        mm[left] = _far_mm(
            _centres_mm(cubes[left], other_codes.shape, steps_mm),
            _centres_mm(others, other_codes.shape, steps_mm),
        )
    return mm


@lru_cache(maxsize=256)
def _lattice_steps(
    shape: tuple[int, ...], steps: bytes
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Jumps in the flat array and their lengths, ascending; complete up to the longest.

    A jump of more than `REACH` along an axis is at least as long as that many distances between
    the grid's planes; the steps tried stay below the shortest of those.
    """
    steps_mm = np.frombuffer(steps, dtype=np.float64).reshape(3, 3)
    planes_mm = 1.0 / np.linalg.norm(np.linalg.inv(steps_mm), axis=1)
    span = np.arange(-REACH, REACH + 1)
    index = np.stack(np.meshgrid(span, span, span, indexing="ij"), axis=-1).reshape(-1, 3)
    lengths = np.linalg.norm(index @ steps_mm.T, axis=1)
    order = np.argsort(lengths, kind="stable")
    order = order[(lengths[order] > 0) & (lengths[order] < (REACH + 1) * planes_mm.min())]
    strides = np.array([shape[1] * shape[2], shape[2], 1])
    return (index @ strides).astype(np.intp)[order], lengths[order]


def _far_mm(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(points) * len(others) <= FEW_DISTANCES:
        return np.asarray(cdist(points, others).min(axis=1))
    tree = cKDTree(others, balanced_tree=False, compact_nodes=False)
    return np.asarray(tree.query(points)[0])


def _centres_mm(
    cubes: NDArray[np.intp], shape: tuple[int, ...], steps_mm: NDArray[np.float64]
) -> NDArray[np.float64]:
    index = np.empty((3, len(cubes)))
    row, index[2] = np.divmod(cubes, shape[2])
    index[0], index[1] = np.divmod(row, shape[1])
    return np.ascontiguousarray((steps_mm @ index).T)
