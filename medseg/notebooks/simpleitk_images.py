"""Scans and masks as SimpleITK images, whose world axes point Left, Posterior, Superior."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadScan
from medseg.geometry import LPS_SIGNS
from medseg.notebooks.libraries import has_class_of, placed
from medseg.volume import Gridded, LabelMap, Volume
from medseg.writers.nifti import mask_dtype


def recognises(image: Any) -> bool:
    """Whether this is an image of SimpleITK."""
    return has_class_of(image, "SimpleITK") and hasattr(image, "GetDirection")


def scan(image: Any) -> Volume:
    """The values of a 3D image, or of a 4D one as channels; components are channels too.

    Raises:
        BadScan: 2D, which has no place in space, or 4D of several components.
    """
    import SimpleITK

    dimensions, components = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if dimensions not in (3, 4) or (dimensions == 4 and components > 1):
        raise BadScan(
            "no 3D image", found=f"{dimensions} dimensions, {components} components a voxel"
        )
    stored = SimpleITK.GetArrayFromImage(image)  # axes run the other way round: (t, z, y, x, c)
    if components > 1:
        stored = np.moveaxis(stored, -1, 0)
    elif dimensions == 3:
        stored = stored[None]
    directions = np.reshape(image.GetDirection(), (dimensions, dimensions))[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = LPS_SIGNS[:, None] * directions * np.array(image.GetSpacing()[:3])
    affine[:3, 3] = LPS_SIGNS * np.array(image.GetOrigin()[:3])
    return placed(stored.transpose(0, 3, 2, 1), affine)


def image(gridded: Gridded) -> Any:
    """A 3D image; several channels become components. A sheared grid keeps its directions."""
    import SimpleITK

    converted = SimpleITK.GetImageFromArray(*_reversed(gridded))
    geometry = gridded.geometry
    converted.SetSpacing(geometry.spacing_mm)
    converted.SetOrigin((geometry.affine[:3, 3] * LPS_SIGNS).tolist())
    converted.SetDirection((geometry.directions * LPS_SIGNS[:, None]).ravel().tolist())
    return converted


def _reversed(gridded: Gridded) -> tuple[NDArray[Any], bool]:
    """(Z, Y, X) numbers, or (Z, Y, X, C) and true for several channels."""
    if isinstance(gridded, LabelMap):
        return np.ascontiguousarray(gridded.data.astype(mask_dtype(gridded)).T), False
    values = gridded.array
    if values.ndim == 4:
        return np.ascontiguousarray(values.transpose(3, 2, 1, 0)), True
    return np.ascontiguousarray(values.T), False
