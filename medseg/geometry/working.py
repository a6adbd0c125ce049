"""The grid on which a network sees a scan: axes in the order of their role, at a given spacing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

import numpy as np

from medseg.geometry.grid import Geometry
from medseg.geometry.roles import Frame, Order, nearest_order, role_order

#: A working axis whose spacing differs by less than this from the scan's keeps the scan's.
SAME_SPACING = 1e-3

#: Working voxels by which MONAI lets a corner of a grid lie before the first one.
_SQUARE = 1e-8

#: RAS direction of each axis code.
_CODES = {
    "R": (1.0, 0.0, 0.0),
    "L": (-1.0, 0.0, 0.0),
    "A": (0.0, 1.0, 0.0),
    "P": (0.0, -1.0, 0.0),
    "S": (0.0, 0.0, 1.0),
    "I": (0.0, 0.0, -1.0),
}


class Alignment(StrEnum):
    """How a working grid sits on the scan's."""

    #: First and last voxel centre enclose the scan's voxel centres, as many as needed.
    COVER = "cover"
    #: Both grids end at the same voxel edges; the spacing gives way (as nnU-Net does it).
    EDGES = "edges"
    #: As MONAI's ``Spacing`` does it: both grids start at the same voxel centre and end as near to
    #: each other as whole steps go; where the axes are not quite at right angles, as in the header
    #: of an oblique scan, voxel number n / 2 of the one lies on that of the other instead.
    MONAI = "monai"


def canonical_grid(native: Geometry) -> Geometry:
    """The same voxels with axes in the order nearest to R, A, S, all growing that way."""
    return _ordered(native, native.canonical_axes)


def role_grid(native: Geometry, frame: Frame | None = None) -> Geometry:
    """The same voxels with axes in the order of their role: in plane, in plane, through plane.

    Args:
        native: the scan's own grid.
        frame: of a plan, where it fixes one; see :mod:`medseg.geometry.roles`.
    """
    order = role_order(native.shape, native.spacing_mm, native.directions, frame)
    return _ordered(native, order)


def stored_grid(native: Geometry, axes: Sequence[int], turned_to: str | None = None) -> Geometry:
    """The same voxels with the scan's stored axes in another order.

    Args:
        native: the scan's own grid.
        axes: the stored axis behind each axis of the result.
        turned_to: axis codes such as ``RAS`` to which the scan is turned first; ``None`` takes
            it as it is stored.

    >>> lps = Geometry((40, 50, 60), np.diag([-1.0, -1.0, 2.0, 1.0]))
    >>> stored_grid(lps, (2, 1, 0)).orientation, stored_grid(lps, (2, 1, 0), "RAS").orientation
    ('SPL', 'SAR')
    """
    order, backwards = (0, 1, 2), (False, False, False)
    if turned_to is not None:
        right, front, up = (_CODES[code] for code in turned_to)
        order, backwards = nearest_order(native.directions, [(right, front, up)])
    x, y, z = axes
    return _ordered(
        native,
        ((order[x], order[y], order[z]), (backwards[x], backwards[y], backwards[z])),
    )


def left_right_axis(grid: Geometry) -> int:
    """The array axis of a grid that runs most nearly from left to right."""
    return grid.canonical_axes[0][0]


def working_grid(
    native: Geometry,
    spacing_mm: Sequence[float | None] | None = None,
    *,
    alignment: Alignment = Alignment.COVER,
    frame: Frame | None = None,
) -> Geometry:
    """The grid on which a network sees a scan: axes by role, at a given spacing.

    The grid is centred on the scan, so that it does not depend on the storage order.

    Args:
        native: the scan's own grid.
        spacing_mm: target spacing in plane, in plane and through plane; ``None`` keeps the
            scan's, for one axis or for all.
        alignment: see :class:`Alignment`.
        frame: of a plan, where it fixes one; see :mod:`medseg.geometry.roles`.

    >>> sagittal = Geometry((20, 256, 256), np.diag([6.0, 0.9, 0.9, 1.0]))
    >>> working_grid(sagittal, (1.8, 1.8, None)).shape
    (129, 129, 20)
    """
    return respaced(role_grid(native, frame), spacing_mm, alignment)


def respaced(
    grid: Geometry, spacing_mm: Sequence[float | None] | None, alignment: Alignment
) -> Geometry:
    """A grid over the same place, along the same axes, at another spacing.

    Args:
        grid: what is covered.
        spacing_mm: along each of its axes; ``None`` keeps the grid's, for one axis or for all.
        alignment: see :class:`Alignment`.

    >>> respaced(Geometry((10, 10, 7), np.eye(4)), (2.0, None, 2.0), Alignment.EDGES).shape
    (5, 10, 4)
    >>> respaced(Geometry((11, 10, 9), np.eye(4)), (2.0, None, 4.0), Alignment.MONAI).shape
    (6, 10, 3)
    """
    targets = spacing_mm if spacing_mm is not None else (None, None, None)
    shape, affine = list(grid.shape), grid.affine.copy()
    at_first = alignment is Alignment.MONAI and _is_square(grid, targets)
    for axis, (target, spacing, size) in enumerate(
        zip(targets, grid.spacing_mm, grid.shape, strict=True)
    ):
        same = SAME_SPACING if alignment is Alignment.COVER else 0.0
        if target is None or abs(target / spacing - 1) <= same:
            continue
        new_size, step = _fit_axis(size, spacing, target, alignment)
        if alignment is Alignment.MONAI:
            start = 0.0 if at_first else (size - step * new_size) / 2
        else:
            start = (size - 1) / 2 - step * (new_size - 1) / 2
        shape[axis] = new_size
        affine[:3, 3] += grid.affine[:3, axis] * start
        affine[:3, axis] = grid.affine[:3, axis] * step
    return Geometry((shape[0], shape[1], shape[2]), affine)


def _is_square(grid: Geometry, targets: Sequence[float | None]) -> bool:
    """Whether MONAI takes the first voxel for the corner: no other lies before it by `_SQUARE`."""
    shear = np.linalg.cholesky(grid.affine[:3, :3].T @ grid.affine[:3, :3]).T
    steps = [own if mm is None else mm for mm, own in zip(targets, grid.spacing_mm, strict=True)]
    reach = np.triu(shear, 1) * (np.array(grid.shape) - 1) / np.array(steps)[:, None]
    return bool(np.minimum(reach, 0).sum(axis=1).min() >= -_SQUARE)


def _fit_axis(size: int, spacing: float, target: float, alignment: Alignment) -> tuple[int, float]:
    """Working voxels along an axis, and scan voxels per working voxel."""
    if alignment is Alignment.EDGES:
        # headers keep float32: an oblique affine says 1.50000004 where the header says 1.5
        new_size = max(1, round(float(np.float32(spacing)) / target * size))
        return new_size, size / new_size
    step = target / spacing
    if alignment is Alignment.MONAI:
        return round((size - 1) / step + 1), step
    return math.ceil((size - 1) / step - 1e-4) + 1, step


def _ordered(native: Geometry, order: Order) -> Geometry:
    """The same voxels with axes in another order, some of them turned round."""
    axes, backwards = order
    affine = np.eye(4)
    first = np.zeros(3)
    for new, (axis, back) in enumerate(zip(axes, backwards, strict=True)):
        affine[:3, new] = native.affine[:3, axis] * (-1 if back else 1)
        first[axis] = native.shape[axis] - 1 if back else 0
    affine[:3, 3] = native.to_world(first)
    shape = native.shape[axes[0]], native.shape[axes[1]], native.shape[axes[2]]
    return Geometry(shape, affine)
