"""The three planes of a picture, and where they cut a scan.

Radiological convention: the patient's right is on the left of the picture, anterior on top of
axial and on the left of sagittal planes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry


@dataclass(frozen=True)
class Plane:
    """One of the three planes: which canonical axes run across and up, and which is cut.

    The axis across always grows towards the left of the picture: R and A lie there.
    """

    name: str
    across: int
    up: int
    cut: int
    #: Left, right, top, bottom of the picture.
    letters: tuple[str, str, str, str]


PLANES = (
    Plane("axial", 0, 1, 2, ("R", "L", "A", "P")),
    Plane("coronal", 0, 2, 1, ("R", "L", "S", "I")),
    Plane("sagittal", 1, 2, 0, ("A", "P", "S", "I")),
)


def view(
    masks: Sequence[NDArray[Any]], grid: Geometry, margin_mm: float
) -> tuple[list[tuple[int, int]], list[int]]:
    """The box to show, and the index of the slices: where the first filled mask is largest."""
    filled = [mask for mask in masks if mask.any()]
    box, centre = [], []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        size, mm = grid.shape[axis], grid.spacing_mm[axis]
        if not filled:
            box.append((0, size))
            centre.append(size // 2)
            continue
        profile = np.count_nonzero(filled[0], axis=others)
        inside = np.flatnonzero(np.sum([np.any(m, axis=others) for m in filled], axis=0))
        margin = round(margin_mm / mm)
        box.append((max(0, int(inside[0]) - margin), min(size, int(inside[-1]) + margin + 1)))
        middle = np.average(np.arange(size), weights=profile)
        likely = profile >= 0.9 * profile.max()
        centre.append(int(min(np.flatnonzero(likely), key=lambda k: abs(k - middle))))
    return box, centre


def slice_of(array: NDArray[Any], plane: Plane, index: int) -> NDArray[Any]:
    """(up, across) pixels of one plane."""
    cut = np.moveaxis(array, plane.cut, 0)[index]
    return np.asarray(cut.T)
