"""Coarse copies of a case: a first look at every slice, and what the view in 3D is given."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadConfig
from medseg.geometry import Geometry
from medseg.review.opened import Opened
from medseg.scratch import scratch_folder
from medseg.volume import Volume
from medseg.volume.box import box_of_values
from medseg.writers import write_volume

#: Voxels along an axis of a preview, and of a volume in 3D, at most.
PREVIEW, SOLID = 96, 192
#: Kept around the mask in 3D.
MARGIN_MM = 15.0


def preview(data: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    """Every second, third … voxel, in the order R, A, S, at most `PREVIEW` along an axis."""
    canonical = geometry.canonical(data)
    return np.ascontiguousarray(canonical[tuple(_thinned(n, PREVIEW) for n in canonical.shape)])


def small_nifti(opened: Opened, layer: str) -> bytes:
    """A NIfTI-1 file of the box around the mask, thinned to at most `SOLID` along an axis.

    Raises:
        BadConfig: the case has no such layer.
    """
    array = opened.layer(layer)
    if array is None:
        raise BadConfig("this case has no such layer")
    with opened.lock:
        box = _box(opened)
        steps = [-(-(part.stop - part.start) // SOLID) for part in box]
        cut = tuple(slice(p.start, p.stop, step) for p, step in zip(box, steps, strict=True))
        small = array[cut].copy()
    affine = opened.geometry.affine.copy()
    affine[:3, 3] = opened.geometry.to_world([part.start for part in box])
    affine[:3, :3] *= steps
    volume = Volume(small[None], Geometry(small.shape, affine))
    with scratch_folder() as folder:
        path = folder / "small.nii"
        write_volume(volume, path)
        return path.read_bytes()


def _box(opened: Opened) -> list[slice]:
    """Around everything drawn; the whole grid where nothing is."""
    filled = box_of_values(opened.mask)
    if filled is None:
        return [slice(0, size) for size in opened.geometry.shape]
    margins = [round(MARGIN_MM / mm) for mm in opened.geometry.spacing_mm]
    return [
        slice(max(0, side.start - margin), min(size, side.stop + margin))
        for side, margin, size in zip(filled, margins, opened.geometry.shape, strict=True)
    ]


def _thinned(size: int, most: int) -> slice:
    step = -(-size // most)
    return slice(step // 2 if size > step // 2 else 0, None, step)
