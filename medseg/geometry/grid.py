"""Where voxels lie in the world: the shape and affine of a grid."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medseg.errors import BadGeometry
from medseg.geometry.roles import RAS, Frame, nearest_order

#: Voxels of a grid from a first to before a last one, along each array axis.
Box: TypeAlias = tuple[slice, slice, slice]

#: Two grids are the same where no corner differs by more than this many voxels. Headers keep
#: float32 affines, whose rounding over 1000 voxels stays below it.
SAME_GRID_VOXELS = 0.01

#: A mask belongs to an image where no corner of the two grids differs by more than this many
#: voxels along any axis: positions printed with two decimals in mm, directions with four.
MASK_GRID_VOXELS = 0.05

#: |cosine| between two array axes below which a grid counts as orthogonal (0.06 degrees).
ORTHOGONAL_COSINE = 1e-3

#: What turns R, A, S into L, P, S, and back: times a point or the columns of an affine.
LPS_SIGNS = np.array([-1.0, -1.0, 1.0])
LPS_SIGNS.flags.writeable = False

#: The same as a matrix before an affine.
LPS_TO_RAS = np.diag([*LPS_SIGNS, 1.0])
LPS_TO_RAS.flags.writeable = False


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
    def frame(self) -> Frame:
        """RAS directions of the array axes, one a row."""
        x, y, z = ((float(r), float(a), float(s)) for r, a, s in self.directions.T)
        return x, y, z

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
        return nearest_order(self.directions, [RAS])

    def canonical(self, array: NDArray[Any]) -> NDArray[Any]:
        """The view (R, A, S) of an array (X, Y, Z) of this grid.

        >>> grid = Geometry((2, 1, 3), np.diag([-1.0, 1.0, 1.0, 1.0]))  # the first axis runs to L
        >>> grid.canonical(np.arange(6).reshape(2, 1, 3)).tolist()
        [[[3, 4, 5]], [[0, 1, 2]]]
        """
        axes, backwards = self.canonical_axes
        turn = tuple(slice(None, None, -1 if back else 1) for back in backwards)
        return array.transpose(axes)[turn]

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

    def fits(self, image: Geometry) -> bool:
        """Whether a mask on this grid is one of an image on that grid (`MASK_GRID_VOXELS`).

        Looser than :meth:`same_grid`: masks come from programs that round positions and
        directions to what they print.

        >>> image = Geometry((9, 9, 9), np.eye(4))
        >>> shifted = [Geometry((9, 9, 9), np.eye(4) + mm * np.eye(4, k=3)) for mm in (0.011, 0.5)]
        >>> tuple(mask.fits(image) for mask in shifted)
        (True, False)
        """
        if self.shape != image.shape:
            return False
        corners = list(itertools.product(*((0, n - 1) for n in image.shape)))
        apart = np.abs(image.to_index(self.corners_mm()) - np.array(corners)).max()
        return bool(apart <= MASK_GRID_VOXELS)

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


def part_of(grid: Geometry, box: Box) -> Geometry:
    """The grid of a box of a grid's voxels; the grid itself where the box is all of it.

    >>> part = part_of(Geometry((9, 9, 9), np.eye(4)), (slice(2, 5), slice(0, 9), slice(0, 9)))
    >>> part.shape, part.affine[:3, 3].tolist()
    ((3, 9, 9), [2.0, 0.0, 0.0])
    """
    if all((side.start, side.stop) == (0, n) for side, n in zip(box, grid.shape, strict=True)):
        return grid
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_world([side.start for side in box])
    x, y, z = (side.stop - side.start for side in box)
    return Geometry((x, y, z), affine)
