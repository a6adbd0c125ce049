"""Which axes of a scan are in plane and which is through plane, found from its own grid.

Working axes are a role: in plane, in plane, through plane. The rule, for any scan:

1. A *stack of slices* has an axis of its own that is through plane: the only axis of one voxel;
   else the coarsest, at `STACK_SPACING` times the next coarsest spacing or more; else, where
   spacings are nearer to each other than that, the axis with `STACK_SHAPE` times fewer voxels
   than the next shortest, or more. Any other scan is a *volume*: none of its axes is through
   plane by itself.
2. A stack's through-plane axis comes last. The order of the other two, and all signs, are those
   nearest to R, A, S: in plane R then A for slices across S, R then S for slices across A, and
   A then S for slices across R.
3. A volume has its axes in the order and signs nearest to R, A, S.

A plan may fix a *frame*: the directions of the working axes of a typical scan of its cohort. Then
"nearest to R, A, S" reads "nearest to the frame", for volumes and for stacks whose slices lie
within `SAME_PLANE_DEGREES` of the frame's; others follow the rule without a frame. A cohort
whose slices lie half-way between two body planes, as short-axis hearts do, is so turned alike.

Order and signs depend on where the axes point and how far apart voxels are along them, never on
the order in which they are stored. Between two choices that are equally near decides a fixed
turn of half a degree, so that scans at exactly 45 degrees do not hang on rounding.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

#: RAS directions of the working axes: in plane, in plane, through plane.
Frame = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]

#: The array axis behind each target axis, and whether it runs backwards.
Order = tuple[tuple[int, int, int], tuple[bool, bool, bool]]

RAS: Frame = ((1, 0, 0), (0, 1, 0), (0, 0, 1))

#: Slices across S, across A and across R, in-plane axes nearest first to R, A, S.
PLANES: tuple[Frame, ...] = (
    RAS,
    ((1, 0, 0), (0, 0, 1), (0, 1, 0)),
    ((0, 1, 0), (0, 0, 1), (1, 0, 0)),
)

#: Slices this many times further apart than the voxels within them make a stack. No round
#: number: many scans have slices exactly twice as far apart, and headers round.
STACK_SPACING = 1.9

#: So many times fewer voxels along one axis make a stack where spacings are alike.
STACK_SHAPE = 6.0

#: Slices within this angle of a frame's are turned as the frame says.
SAME_PLANE_DEGREES = 60.0


def role_order(
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    directions: NDArray[np.float64],
    frame: Frame | None = None,
) -> Order:
    """The array axis of each working axis, and whether it runs backwards.

    Args:
        shape: voxels along each array axis.
        spacing_mm: distance between voxels along them.
        directions: (3, 3) unit vectors of the array axes in RAS, one a column.
        frame: of a plan; ``None`` is nearest to R, A, S.

    >>> role_order((20, 256, 256), (6.0, 0.9, 0.9), np.eye(3))  # sagittal slices: A, S, then R
    ((1, 2, 0), (False, False, False))
    >>> role_order((180, 256, 256), (1.2, 0.9, 0.9), np.eye(3))  # no slices: R, A, S
    ((0, 1, 2), (False, False, False))
    """
    through = through_plane(shape, spacing_mm)
    if through is None:
        return nearest_order(directions, [frame or RAS])
    if frame is not None:
        along = abs(float(np.dot(frame[2], directions[:, through])))
        if along >= np.cos(np.radians(SAME_PLANE_DEGREES)):
            return nearest_order(directions, [frame], last=through)
    return nearest_order(directions, PLANES, last=through)


def through_plane(shape: Sequence[int], spacing_mm: Sequence[float]) -> int | None:
    """The array axis across which a stack's slices lie; ``None`` for a volume.

    >>> through_plane((256, 256, 12), (1.0, 1.0, 1.0))
    2
    """
    single = [axis for axis in range(3) if shape[axis] == 1]
    if single:
        return single[0] if len(single) == 1 else None
    coarsest = sorted(range(3), key=lambda axis: -spacing_mm[axis])
    if spacing_mm[coarsest[0]] >= STACK_SPACING * spacing_mm[coarsest[1]]:
        return coarsest[0]
    shortest = sorted(range(3), key=lambda axis: shape[axis])
    if shape[shortest[1]] >= STACK_SHAPE * shape[shortest[0]]:
        return shortest[0]
    return None


def nearest_order(
    directions: NDArray[np.float64], frames: Sequence[Frame], *, last: int | None = None
) -> Order:
    """The order and signs of array axes that come nearest to one of several frames.

    Args:
        directions: (3, 3) unit vectors of the array axes in RAS, one a column.
        frames: to choose from.
        last: the array axis that must come last.
    """
    best, order, backwards = -np.inf, (0, 1, 2), (False, False, False)
    for frame in frames:
        along = np.array(frame, dtype=np.float64) @ TURN @ directions  # [working, array]
        for axes in itertools.permutations(range(3)):
            nearness = sum(abs(along[to, axis]) for to, axis in enumerate(axes))
            if nearness > best + 1e-9 and last in (None, axes[2]):
                best, order = nearness, (axes[0], axes[1], axes[2])
                signs = [bool(along[to, axis] < 0) for to, axis in enumerate(axes)]
                backwards = (signs[0], signs[1], signs[2])
    return order, backwards


def rounded(frame: Frame) -> Frame:
    """A frame to two decimals, half a degree or so, as people write it."""
    x, y, z = ((round(r, 2) + 0.0, round(a, 2) + 0.0, round(s, 2) + 0.0) for r, a, s in frame)
    return x, y, z


def degrees_apart(one: Frame, other: Frame) -> float:
    """The largest angle between axes of the same role, whichever way they run.

    >>> degrees_apart(RAS, ((0, 1, 0), (0, 0, 1), (1, 0, 0)))
    90.0
    """
    cosines = np.abs(np.sum(np.array(one) * np.array(other), axis=1)).clip(0, 1)
    return float(np.degrees(np.arccos(cosines.min())))


def distinct_frames(frames: Iterable[Frame], degrees: float) -> tuple[Frame, ...]:
    """Frames of which no two are nearer to each other than an angle, in order of appearance."""
    kept: list[Frame] = []
    for frame in frames:
        if all(degrees_apart(frame, other) > degrees for other in kept):
            kept.append(frame)
    return tuple(kept)


def _rotation(degrees: Sequence[float]) -> NDArray[np.float64]:
    """Turns about R, A and S, one after the other."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        i, j = (a for a in range(3) if a != axis)
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


TURN = _rotation((0.31, 0.43, 0.19))
