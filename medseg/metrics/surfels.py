"""The area of surface between eight neighbouring voxel centres: marching cubes, by geometry.

Eight voxel centres span a cube. Where some are inside and some outside, a surface cuts the
cube's edges half way (Lorensen & Cline 1987, doi:10.1145/37401.37422); its area depends on
which corners are inside (256 codes) and on the grid's steps. The 256 patches are derived here:

1. On each face, the cut edges are joined. A face with four cut edges is ambiguous: the
   corners of the side that is in the minority in the cube stay apart (a tie changes nothing).
2. The joins close to one or several loops of 3 to 6 points.
3. A loop is split into triangles; of all ways of splitting it, the one of largest area on
   the unit grid is taken (ways of equal area there have equal area on every grid).

Triangles are kept as area vectors in index space. A vector n of index space is det(S) S^-T n
in mm^2 on a grid of steps S, so that anisotropic and sheared grids need no further table.
"""

from __future__ import annotations

import itertools
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

#: Corner k of a cube lies at (k & 1, k >> 1 & 1, k >> 2 & 1) and is bit k of a code.
CORNERS = np.array([(k & 1, k >> 1 & 1, k >> 2 & 1) for k in range(8)])

#: The corners of each face in the order in which one walks around it.
FACES = ((0, 2, 6, 4), (1, 3, 7, 5), (0, 1, 5, 4), (2, 3, 7, 6), (0, 1, 3, 2), (4, 5, 7, 6))

Edge = tuple[int, int]
Triangle = tuple[int, int, int]


def surfel_areas(steps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """(256,) surface area in mm^2 for each code, on a grid of (3, 3) steps (one a column)."""
    return _areas(np.ascontiguousarray(steps_mm, dtype=np.float64).tobytes())


@lru_cache(maxsize=64)
def _areas(steps: bytes) -> NDArray[np.float64]:
    steps_mm = np.frombuffer(steps).reshape(3, 3)
    codes, vectors = _unit_triangles()
    cofactors = abs(np.linalg.det(steps_mm)) * np.linalg.inv(steps_mm)  # rows n @ S^-1
    areas = np.linalg.norm(vectors @ cofactors, axis=1)
    table = np.asarray(np.bincount(codes, weights=areas, minlength=256), dtype=np.float64)
    table.flags.writeable = False
    return table


@cache
def _unit_triangles() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The code and the area vector of every triangle of every patch, in index space."""
    codes: list[int] = []
    vectors: list[NDArray[np.float64]] = []
    for code in range(1, 255):
        for loop in _loops(code):
            triangles = _triangulate(np.array([CORNERS[list(edge)].mean(axis=0) for edge in loop]))
            codes += [code] * len(triangles)
            vectors.append(triangles)
    return np.array(codes), np.concatenate(vectors)


def _loops(code: int) -> list[list[Edge]]:
    """The closed lines in which the surface cuts the cube's faces, as the edges they cross."""
    inside = [bool(code >> corner & 1) for corner in range(8)]
    minority = sum(inside) <= 4
    neighbours: dict[Edge, list[Edge]] = {}
    for face in FACES:
        for one, other in _joins(face, inside, apart=minority):
            neighbours.setdefault(one, []).append(other)
            neighbours.setdefault(other, []).append(one)
    loops: list[list[Edge]] = []
    while neighbours:
        edge: Edge | None = next(iter(neighbours))
        loop: list[Edge] = []
        while edge is not None:
            loop.append(edge)
            edge = next((e for e in neighbours.pop(edge) if e in neighbours), None)
        loops.append(loop)
    return loops


def _joins(face: tuple[int, ...], inside: list[bool], *, apart: bool) -> list[tuple[Edge, Edge]]:
    """Which cut edges of a face the surface joins; ``apart``: the side that stays apart."""
    edges = [_edge(face[k], face[(k + 1) % 4]) for k in range(4)]
    cut = [edge for edge in edges if inside[edge[0]] != inside[edge[1]]]
    if len(cut) == 2:
        return [(cut[0], cut[1])]
    if len(cut) == 4:
        return [(edges[k - 1], edges[k]) for k in range(4) if inside[face[k]] == apart]
    return []


def _edge(one: int, other: int) -> Edge:
    return (one, other) if one < other else (other, one)


def _triangulate(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(triangles, 3) area vectors of the splitting of a loop that has the largest area."""
    splits = [
        np.array(
            [np.cross(points[b] - points[a], points[c] - points[a]) / 2 for a, b, c in triangles]
        )
        for triangles in _splits(0, len(points) - 1)
    ]
    return max(splits, key=lambda vectors: round(float(np.linalg.norm(vectors, axis=1).sum()), 9))


def _splits(first: int, last: int) -> list[list[Triangle]]:
    """Every way of splitting the polygon of the points `first` … `last` into triangles."""
    if last - first < 2:
        return [[]]
    return [
        [*left, (first, apex, last), *right]
        for apex in range(first + 1, last)
        for left, right in itertools.product(_splits(first, apex), _splits(apex, last))
    ]
