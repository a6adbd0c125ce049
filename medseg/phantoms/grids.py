"""Grids on which scanners lay their voxels: one name for each habit, from axial to tilted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadConfig
from medseg.geometry import Geometry
from medseg.phantoms.shapes import turned


@dataclass(frozen=True, eq=False)
class Habit:
    """How a scanner lays its array axes.

    Attributes:
        directions: (3, 3) unit vectors of the array axes in RAS, one a column.
        stretch: spacing of each array axis, relative to the finest.
    """

    directions: NDArray[np.float64]
    stretch: tuple[float, float, float] = (1, 1, 1)


def _axes(*columns: tuple[float, float, float]) -> NDArray[np.float64]:
    return np.array(columns, dtype=np.float64).T


_LPS = _axes((-1, 0, 0), (0, -1, 0), (0, 0, 1))
_TILT = math.radians(14)

GRIDS: dict[str, Habit] = {
    #: As most CT: rows to the left, columns to the back, slices upwards.
    "axial": Habit(_LPS),
    "canonical": Habit(np.eye(3)),
    "oblique": Habit(turned(11, -8, 6) @ _LPS),
    "sagittal": Habit(_axes((0, -1, 0), (0, 0, -1), (-1, 0, 0))),
    "coronal": Habit(_axes((-1, 0, 0), (0, 0, -1), (0, 1, 0))),
    #: A left-handed array: rows to the right, columns to the back, slices upwards.
    "mirrored": Habit(_axes((1, 0, 0), (0, -1, 0), (0, 0, 1))),
    #: Slices three times as thick as the pixels.
    "anisotropic": Habit(_LPS, (1, 1, 3)),
    #: A tilted CT gantry: slices lean against the table, so the axes are not orthogonal.
    "sheared": Habit(_axes((-1, 0, 0), (0, -math.cos(_TILT), -math.sin(_TILT)), (0, 0, 1))),
}


def phantom_grid(
    name: str = "axial",
    *,
    spacing_mm: float = 5.0,
    extent_mm: tuple[float, float, float] = (380.0, 290.0, 260.0),
) -> Geometry:
    """A grid of one of the habits in `GRIDS` that covers an extent about the origin.

    Args:
        name: of the habit.
        spacing_mm: of the finest axis.
        extent_mm: to cover along R, A and S, edge to edge.

    Raises:
        BadConfig: no habit of that name, or a spacing that is not positive.
    """
    if name not in GRIDS:
        raise BadConfig("no such grid", found=repr(name), expected=", ".join(GRIDS))
    if not spacing_mm > 0:
        raise BadConfig("a spacing must be above 0", found=spacing_mm)
    habit = GRIDS[name]
    spacings = spacing_mm * np.asarray(habit.stretch)
    nearest = np.abs(habit.directions).argmax(axis=0)
    x, y, z = (
        math.ceil(extent_mm[world] / step - 1e-9)
        for world, step in zip(nearest, spacings, strict=True)
    )
    affine = np.eye(4)
    affine[:3, :3] = habit.directions * spacings
    affine[:3, 3] = np.zeros(3) - affine[:3, :3] @ ((np.array([x, y, z]) - 1) / 2)
    return Geometry((x, y, z), affine)
