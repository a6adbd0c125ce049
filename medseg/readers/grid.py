"""Checks and warnings of grids that all readers share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadGeometry, BadScan
from medseg.geometry import Geometry

#: Voxels of less than 0.1 micrometre or more than a metre are a header's mistake.
LEAST_SPACING_MM, MOST_SPACING_MM = 1e-4, 1e3

#: No number of an affine is larger: no scanner puts a voxel a kilometre from its isocentre.
MOST_OFFSET_MM = 1e6


def scan_geometry(shape: tuple[int, ...], affine: NDArray[Any], path: Path) -> Geometry:
    """The grid of a scan, refused where no scan can have it.

    Raises:
        BadScan: the affine is singular, not finite, or of an absurd size.
    """
    if np.isfinite(affine).all() and np.abs(affine[:3]).max() > MOST_OFFSET_MM:
        raise BadScan(
            "no usable geometry: the affine is absurd",
            path=path,
            found=f"{np.abs(affine[:3]).max():.4g} mm",
        )
    try:
        geometry = Geometry((shape[0], shape[1], shape[2]), affine)
    except BadGeometry as error:
        raise BadScan(
            f"no usable geometry: {error.problem}",
            path=path,
            found=error.found,
            remedy="The header's affine must be repaired at its source.",
        ) from None
    spacing = geometry.spacing_mm
    if not LEAST_SPACING_MM <= min(spacing) <= max(spacing) <= MOST_SPACING_MM:
        raise BadScan(
            "no usable geometry: the voxel spacing is absurd",
            path=path,
            found="x".join(f"{mm:.4g}" for mm in spacing) + " mm",
            expected=f"{LEAST_SPACING_MM:g} to {MOST_SPACING_MM:g} mm",
        )
    return geometry


def corner_distance_mm(one: Geometry, other: Geometry) -> float:
    """How far apart two grids of one shape put a corner voxel, at most."""
    return float(np.linalg.norm(one.corners_mm() - other.corners_mm(), axis=1).max())


def grid_warnings(geometry: Geometry) -> tuple[str, ...]:
    """What a user should know of a grid that is right but unusual."""
    warnings = []
    if not geometry.is_orthogonal:
        cosines = np.abs(np.triu(geometry.directions.T @ geometry.directions, 1))
        degrees = float(np.degrees(np.arcsin(min(1.0, cosines.max()))))
        warnings.append(
            f"the grid is sheared by {degrees:.2f} degrees (its axes are not at right "
            "angles); the shear is kept in the affine"
        )
    if min(geometry.shape) == 1:
        warnings.append("the scan is a single slice")
    return tuple(warnings)


#: A cohort's card names files of one volume; two verbs make, or take, one of several.
CHOOSE_VOLUME = "Choose one: `medseg segment` and `medseg convert` have --volume"


def choose_volume(count: int, volume: int | None, path: Path) -> int:
    """Which volume to read of a file that holds `count`.

    Raises:
        BadScan: there are several and none is chosen, or there is no such one.
    """
    if volume is None and count > 1:
        raise BadScan(
            f"4D: the file holds {count} volumes, and nothing says which to take",
            path=path,
            remedy=f"{CHOOSE_VOLUME} 0 to {count - 1}.",
        )
    chosen = 0 if volume is None else volume
    if not 0 <= chosen < count:
        raise BadScan(
            f"there is no volume {chosen}",
            path=path,
            found=f"{count} of them",
            expected=f"0 to {count - 1}",
        )
    return chosen
