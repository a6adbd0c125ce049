"""Pictures of the three planes, and the voxel of the file behind each of their pixels.

Radiological convention: the patient's right, and in the sagittal plane the front, lies on the left
of the picture; up is anterior in the axial plane and superior in the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadConfig
from medseg.geometry import Geometry
from medseg.pictures import PLANES, Plane

#: By name: axial, coronal, sagittal.
BY_NAME = {plane.name: plane for plane in PLANES}


def plane_named(name: str) -> Plane:
    """The plane of that name.

    Raises:
        BadConfig: there is none.
    """
    if name not in BY_NAME:
        raise BadConfig("no such plane", found=repr(name), expected=", ".join(BY_NAME))
    return BY_NAME[name]


def canonical_shape(geometry: Geometry) -> tuple[int, int, int]:
    """Voxels towards R, A and S."""
    r, a, s = (geometry.shape[axis] for axis in geometry.canonical_axes[0])
    return r, a, s


def picture(array: NDArray[Any], geometry: Geometry, plane: Plane, position: int) -> NDArray[Any]:
    """(rows, columns) of a plane, first row on top, first column on the left; a view.

    Args:
        array: (X, Y, Z) in the order of the file.
        geometry: of the array.
        plane: which plane.
        position: of the cut, from left, posterior or inferior.

    Raises:
        BadConfig: there is no such position.
    """
    require_position(geometry, plane, position)
    cut = geometry.canonical(array)[(slice(None),) * plane.cut + (position,)]
    return cut.T[::-1, ::-1]


def voxels(
    pixels: NDArray[np.int64], geometry: Geometry, plane: Plane, position: int
) -> NDArray[np.int64]:
    """Flat numbers (C order) in the (X, Y, Z) array of pixels of a picture.

    Args:
        pixels: flat numbers (C order) in the picture that :func:`picture` gives.
        geometry: of the array.
        plane: which plane.
        position: of the cut.

    Raises:
        BadConfig: a pixel lies outside the picture, or there is no such position.
    """
    require_position(geometry, plane, position)
    sizes = canonical_shape(geometry)
    height, width = sizes[plane.up], sizes[plane.across]
    if pixels.size and not 0 <= pixels.min() <= pixels.max() < height * width:
        raise BadConfig("a pixel outside the picture", expected=f"{width} x {height} pixels")
    rows, columns = np.divmod(pixels, width)
    place = {
        plane.cut: np.full_like(pixels, position),
        plane.across: width - 1 - columns,
        plane.up: height - 1 - rows,
    }
    axes, backwards = geometry.canonical_axes
    index = [place[0]] * 3
    for world, (axis, back) in enumerate(zip(axes, backwards, strict=True)):
        index[axis] = sizes[world] - 1 - place[world] if back else place[world]
    return np.asarray(np.ravel_multi_index(tuple(index), geometry.shape), dtype=np.int64)


def require_position(geometry: Geometry, plane: Plane, position: int) -> None:
    """Refuse a cut outside the grid.

    Raises:
        BadConfig: there is no such cut.
    """
    count = canonical_shape(geometry)[plane.cut]
    if not 0 <= position < count:
        raise BadConfig(f"no such {plane.name} slice", found=position, expected=f"0 to {count - 1}")
