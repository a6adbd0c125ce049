"""The frame to which a cohort's scans are turned, where R, A, S would turn them differently."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Frame, role_order, rounded
from medseg.planning.fingerprint import CaseLooks, CohortLooks

#: An axis this many times coarser than the next is where a scan's slices lie, for the cohort's
#: sake: scans on either side of the limit for one scan must be turned alike.
_COARSER = 1.25

#: Of the scans that have such an axis, this share of their directions is along one line.
_ONE_DIRECTION = 0.75

#: Slices within this angle of the cohort's tell how its in-plane axes lie.
_NEAR_DEGREES = 45.0


def typical_frame(looks: CohortLooks) -> Frame | None:
    """RAS directions of a typical scan's working axes, or ``None`` where none is needed.

    Most scans must have a coarsest axis, and these must point about one way. The axes within the
    slices are the mean over the scans, a quarter turn being the same. None is needed where every
    scan is turned alike without.
    """
    coarse = [(case, _coarsest(case)) for case in looks.cases]
    stacks = [(np.array(case.directions), axis) for case, axis in coarse if axis is not None]
    if 2 * len(stacks) <= len(looks.cases):
        return None
    across = np.array([directions[axis] for directions, axis in stacks])
    strength, lines = np.linalg.eigh(across.T @ across / len(across))
    if strength[-1] < _ONE_DIRECTION:
        return None
    frame = _frame(lines[:, -1], stacks)
    return frame if any(_turned_by(frame, case) for case in looks.cases) else None


def _coarsest(case: CaseLooks) -> int | None:
    """The axis of a scan that is coarser than the others, if one is."""
    order = sorted(range(3), key=lambda axis: -case.spacing_mm[axis])
    if case.spacing_mm[order[0]] >= _COARSER * case.spacing_mm[order[1]]:
        return order[0]
    return None


def _frame(across: NDArray[np.float64], stacks: Sequence[tuple[NDArray[np.float64], int]]) -> Frame:
    """In-plane axes about a through-plane direction, all as near to R, A, S as can be."""
    first = np.cross(across, np.eye(3)[int(np.abs(across).argmin())])
    first /= np.linalg.norm(first)
    second = np.cross(across, first)
    turns = 0j
    for directions, axis in stacks:
        if abs(float(directions[axis] @ across)) >= np.cos(np.radians(_NEAR_DEGREES)):
            within = directions[(axis + 1) % 3]
            turns += complex(within @ first, within @ second) ** 4
    angle = np.angle(turns) / 4  # a quarter turn is the same
    rows = np.array(
        [
            np.cos(angle) * first + np.sin(angle) * second,
            np.cos(angle) * second - np.sin(angle) * first,
            across,
        ]
    )
    order, backwards = role_order((99, 99, 99), (1, 1, 9), rows.T)
    turned = [rows[axis] * (-1 if back else 1) for axis, back in zip(order, backwards, strict=True)]
    x, y, z = ((float(r), float(a), float(s)) for r, a, s in turned)
    return rounded((x, y, z))


def _turned_by(frame: Frame, case: CaseLooks) -> bool:
    """Whether a scan is turned otherwise by a frame than without."""
    directions = np.array(case.directions).T
    with_frame = role_order(case.shape, case.spacing_mm, directions, frame)
    return with_frame != role_order(case.shape, case.spacing_mm, directions)
