"""Where voxels lie in the world: shape and affine, and the map between two grids of one scan."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medseg.errors import BadGeometry, GridMismatch

#: Two grids are the same where no corner differs by more than this many voxels. Headers keep
#: float32 affines, whose rounding over 1000 voxels stays below it.
SAME_GRID_VOXELS = 0.01

#: |cosine| between two array axes below which a grid counts as orthogonal (0.06 degrees).
ORTHOGONAL_COSINE = 1e-3

#: A working axis whose spacing differs by less than this from the scan's keeps the scan's.
SAME_SPACING = 1e-3


@dataclass(frozen=True, eq=False)
class Geometry:
    """Shape and position of a 3D voxel grid.

    World axes point Right, Anterior, Superior, in mm; index (0, 0, 0) is the *centre* of
    the first voxel, as in NIfTI. DICOM's LPS is turned into RAS in ``readers`` alone.

    Attributes:
        shape: voxels along each array axis (X, Y, Z).
        affine: (4, 4) float64, voxel index to world mm; read-only.

    Raises:
        BadGeometry: the shape is not three positive integers, or the affine is not finite
            and invertible.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape, default=0) < 1:
            raise BadGeometry("the grid needs three axes of one voxel or more", found=shape)
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise BadGeometry("the affine is not a finite 4x4 matrix", found=affine.tolist())
        if not np.array_equal(affine[3], [0, 0, 0, 1]):
            raise BadGeometry(
                "the affine's last row is off", found=affine[3].tolist(), expected=[0, 0, 0, 1]
            )
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        volume = abs(np.linalg.det(affine[:3, :3]))
        if lengths.min() == 0 or volume < 1e-6 * lengths.prod():
            raise BadGeometry(
                "the affine is singular: its axes do not span space", found=affine[:3, :3].tolist()
            )
        affine.flags.writeable = False
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along each array axis, in mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def directions(self) -> NDArray[np.float64]:
        """(3, 3) unit vectors of the array axes in RAS, one a column."""
        return np.asarray(self.affine[:3, :3] / np.array(self.spacing_mm))

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel from the determinant, right for sheared grids too, in mm^3."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel, in ml."""
        return self.voxel_mm3 / 1000.0

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def is_orthogonal(self) -> bool:
        """Whether the array axes are at right angles (no shear, as a tilted gantry leaves)."""
        cosines = self.directions.T @ self.directions - np.eye(3)
        return bool(np.abs(cosines).max() < ORTHOGONAL_COSINE)

    @property
    def canonical_axes(self) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
        """Which array axis runs most nearly along R, A and S, and whether it runs backwards."""
        along = self.directions  # [world, array]
        best = max(
            itertools.permutations(range(3)),
            key=lambda order: sum(abs(along[world, axis]) for world, axis in enumerate(order)),
        )
        backwards = tuple(bool(along[world, axis] < 0) for world, axis in enumerate(best))
        return (best[0], best[1], best[2]), (backwards[0], backwards[1], backwards[2])

    @property
    def orientation(self) -> str:
        """Axis codes such as ``LPS``: the direction in which each array axis grows."""
        axes, backwards = self.canonical_axes
        letters = {
            axis: "RAS"[world] if not backwards[world] else "LPI"[world]
            for world, axis in enumerate(axes)
        }
        return "".join(letters[axis] for axis in range(3))

    def to_world(self, index: ArrayLike) -> NDArray[np.float64]:
        """(..., 3) voxel indices to (..., 3) RAS mm."""
        points = np.asarray(index, dtype=np.float64)
        return np.asarray(points @ self.affine[:3, :3].T + self.affine[:3, 3])

    def to_index(self, world_mm: ArrayLike) -> NDArray[np.float64]:
        """(..., 3) RAS mm to (..., 3) fractional voxel indices."""
        points = np.asarray(world_mm, dtype=np.float64) - self.affine[:3, 3]
        return np.asarray(np.linalg.solve(self.affine[:3, :3], points[..., None])[..., 0])

    def corners_mm(self) -> NDArray[np.float64]:
        """(8, 3) RAS mm of the centres of the corner voxels."""
        ends = [(0, n - 1) for n in self.shape]
        return self.to_world(list(itertools.product(*ends)))

    def same_grid(self, other: Geometry) -> bool:
        """Whether both have one shape and put every voxel in one place (`SAME_GRID_VOXELS`)."""
        if self.shape != other.shape:
            return False
        apart_mm = np.linalg.norm(self.corners_mm() - other.corners_mm(), axis=1).max()
        return bool(apart_mm <= SAME_GRID_VOXELS * min(self.spacing_mm))

    def describe_beside(self, other: Geometry) -> str:
        """The phrase of :meth:`describe`, and how far away from another grid of that shape."""
        if self.shape != other.shape:
            return self.describe()
        apart_mm = np.linalg.norm(self.corners_mm() - other.corners_mm(), axis=1).max()
        return f"{self.describe()} up to {apart_mm:.3g} mm away"

    def describe(self) -> str:
        """One short phrase for messages: shape, spacing, orientation."""
        shape = "x".join(str(n) for n in self.shape)
        spacing = "x".join(f"{mm:.4g}" for mm in self.spacing_mm)
        return f"{shape} voxels of {spacing} mm ({self.orientation})"


class Alignment(StrEnum):
    """How a working grid sits on the scan's."""

    #: First and last voxel centre enclose the scan's voxel centres, as many as needed.
    COVER = "cover"
    #: Both grids end at the same voxel edges; the spacing gives way (as nnU-Net does it).
    EDGES = "edges"


@dataclass(frozen=True)
class AxisMap:
    """One axis of a separable map: ``source index = start + step * target index``.

    Attributes:
        source_axis: array axis of the source that feeds this target axis.
        source_size: voxels along it in the source.
        size: voxels along it in the target.
        start: fractional source index of the target's first voxel centre.
        step: source voxels per target voxel; negative where the axes run opposite.
    """

    source_axis: int
    source_size: int
    size: int
    start: float
    step: float

    @property
    def is_copy(self) -> bool:
        """Whether target voxels are source voxels, in order or reversed, none invented."""
        last = self.start + self.step * (self.size - 1)
        whole = abs(self.start - round(self.start)) < 1e-6 and abs(abs(self.step) - 1) < 1e-6
        return (
            whole
            and min(self.start, last) > -0.5
            and max(self.start, last) < self.source_size - 0.5
        )

    def source_index(self) -> NDArray[np.float64]:
        """(size,) fractional source index of every target voxel centre."""
        return self.start + self.step * np.arange(self.size, dtype=np.float64)


GridMap = tuple[AxisMap, AxisMap, AxisMap]


def grid_map(source: Geometry, target: Geometry) -> GridMap:
    """The separable map that tells, per target axis, which source voxels lie there.

    Both grids must share their axes up to order, direction, spacing and offset, as a working
    grid and its scan do; no history of transforms is needed.

    Raises:
        GridMismatch: the axes of the two grids are not parallel.
    """
    to_source = np.linalg.solve(source.affine, target.affine)
    maps = []
    for axis in range(3):
        column = to_source[:3, axis] * max(1, target.shape[axis] - 1)
        feeding = int(np.abs(column).argmax())
        if np.abs(np.delete(column, feeding)).max() > 0.05:
            raise GridMismatch(
                "the two grids are rotated against each other, so no axis maps onto another",
                found=target.describe(),
                expected=f"a grid along the axes of {source.describe()}",
            )
        maps.append(
            AxisMap(
                feeding,
                source.shape[feeding],
                target.shape[axis],
                float(to_source[feeding, 3]),
                float(to_source[feeding, axis]),
            )
        )
    if sorted(m.source_axis for m in maps) != [0, 1, 2]:
        raise GridMismatch("two axes of one grid lie along one axis of the other")
    return maps[0], maps[1], maps[2]


def canonical_grid(native: Geometry) -> Geometry:
    """The same voxels with axes in the order nearest to R, A, S, all growing that way."""
    axes, backwards = native.canonical_axes
    affine = np.eye(4)
    first = np.array(
        [native.shape[a] - 1 if b else 0 for a, b in zip(axes, backwards, strict=True)]
    )
    index = np.zeros(3)
    for position, axis in zip(first, axes, strict=True):
        index[axis] = position
    for new, (axis, back) in enumerate(zip(axes, backwards, strict=True)):
        affine[:3, new] = native.affine[:3, axis] * (-1 if back else 1)
    affine[:3, 3] = native.to_world(index)
    shape = native.shape[axes[0]], native.shape[axes[1]], native.shape[axes[2]]
    return Geometry(shape, affine)


def working_grid(
    native: Geometry,
    spacing_mm: Sequence[float | None] | None = None,
    *,
    alignment: Alignment = Alignment.COVER,
) -> Geometry:
    """The grid on which a network sees a scan: canonical axes, given spacing.

    The grid is centred on the scan, so that it does not depend on the storage order.

    Args:
        native: the scan's own grid.
        spacing_mm: target spacing along the canonical axes; ``None`` keeps the scan's, for
            one axis or for all.
        alignment: see :class:`Alignment`.
    """
    grid = canonical_grid(native)
    targets = spacing_mm if spacing_mm is not None else (None, None, None)
    shape, affine = list(grid.shape), grid.affine.copy()
    for axis, (target, spacing, size) in enumerate(
        zip(targets, grid.spacing_mm, grid.shape, strict=True)
    ):
        if target is None or abs(target / spacing - 1) < SAME_SPACING:
            continue
        new_size, step = _fit_axis(size, target / spacing, alignment)
        start = (size - 1) / 2 - step * (new_size - 1) / 2
        shape[axis] = new_size
        affine[:3, 3] += grid.affine[:3, axis] * start
        affine[:3, axis] = grid.affine[:3, axis] * step
    return Geometry((shape[0], shape[1], shape[2]), affine)


def _fit_axis(size: int, step: float, alignment: Alignment) -> tuple[int, float]:
    """Working voxels along an axis, and scan voxels per working voxel."""
    if alignment is Alignment.EDGES:
        new_size = max(1, round(size / step))
        return new_size, size / new_size
    return math.ceil((size - 1) / step - 1e-4) + 1, step
