"""A structure in one slice becomes closed lines, holes joined to their outline by keyholes.

Lines run between voxel centres, a hair nearer to the inner one (`_LEVEL`), so that every centre
inside is inside the line and every other outside: whoever asks whether a voxel's centre is inside
gets the mask back, and whoever rounds vertices to voxels meets the mask's own border voxels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from medseg.contours import outlines

#: Where between an outer (0) and an inner (1) voxel centre a line runs; 0.5 is the middle.
_LEVEL = 0.51


def closed_lines(inside: NDArray[Any]) -> list[NDArray[np.float64]]:
    """One closed line a connected part, by the standard's keyhole technique (PS3.3 C.8.8.6.3).

    Args:
        inside: (A, B) true within the structure.

    Returns:
        (N, 2) index coordinates each, voxel centres at whole numbers, the first point not
        repeated. A hole is reached by a channel of no width and left by the same one.

    >>> import numpy as np
    >>> ring = np.pad(np.zeros((2, 2)), 2, constant_values=1)
    >>> len(closed_lines(ring)), len(closed_lines(np.eye(3)))
    (1, 3)
    """
    parts, count = ndimage.label(inside)
    lines = []
    for number, box in enumerate(ndimage.find_objects(parts, count), start=1):
        start = np.array([side.start for side in box])
        rings = [line[:-1] for line in outlines(parts[box] == number, level=_LEVEL)]
        rings.sort(key=_extent, reverse=True)  # the outline reaches farther than its holes
        lines.append(_without_straight(_joined(rings)) + start)
    return lines


def _extent(ring: NDArray[np.float64]) -> float:
    return float(np.prod(np.ptp(ring, axis=0)))


def _joined(rings: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """One line through all rings: the nearest one is joined next, by the shortest channel."""
    line, left = rings[0], rings[1:]
    while left:
        tree = cKDTree(line)
        near: list[tuple[Any, Any]] = [tree.query(ring) for ring in left]
        chosen = int(np.argmin([distances.min() for distances, _ in near]))
        distances, places = near[chosen]
        there = int(distances.argmin())
        here = int(places[there])
        ring = np.roll(left.pop(chosen), -there, axis=0)
        line = np.concatenate([line[: here + 1], ring, ring[:1], line[here:]])
    return line


def _without_straight(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same line without points on straight stretches; turns and turnings back stay."""
    before = line - np.roll(line, 1, axis=0)
    after = np.roll(line, -1, axis=0) - line
    cross = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    ahead = (before * after).sum(axis=1) > 0
    keep = ~((np.abs(cross) < 1e-9) & ahead)
    return np.asarray(line[keep])
