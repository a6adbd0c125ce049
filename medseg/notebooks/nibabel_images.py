"""Scans and masks as nibabel images, and back."""

from __future__ import annotations

from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadScan
from medseg.notebooks.libraries import has_class_of, placed
from medseg.readers.nifti.forms import UNITS_MM, forms_of
from medseg.volume import Gridded, LabelMap, Origin, Volume
from medseg.writers.nifti import image_header, mask_dtype


def recognises(image: Any) -> bool:
    """Whether this is an image of nibabel."""
    return has_class_of(image, "nibabel") and hasattr(image, "dataobj")


def scan(image: Any) -> Volume:
    """The values of an image by its affine; volumes or components become channels.

    Raises:
        BadScan: no affine, or more than four axes that matter.
    """
    if image.affine is None:
        raise BadScan("the image has no affine, so nothing says where it lies")
    data = _channels_first(np.asanyarray(image.dataobj))
    raw = image.header if isinstance(image.header, nibabel.Nifti1Header) else None
    affine = np.array(image.affine, np.float64)
    if raw is not None:
        affine[:3] *= UNITS_MM.get(int(raw["xyzt_units"]) & 7, 1.0)
    return placed(data, affine, Origin(forms=None if raw is None else forms_of(raw)))


def image(gridded: Gridded) -> Any:
    """A NIfTI-1 image (NIfTI-2 where the scan was); channels become the fourth axis."""
    data = gridded.array
    if isinstance(gridded, LabelMap):
        data = data.astype(mask_dtype(gridded))
    elif data.ndim == 4:
        data = np.moveaxis(data, 0, -1)
    channels = data.shape[3] if data.ndim == 4 else 1
    header = image_header(gridded.geometry, gridded.origin, data.dtype, channels=channels)
    kind: Any = nibabel.Nifti1Image
    if isinstance(header, nibabel.Nifti2Header):
        kind = nibabel.Nifti2Image
    return kind(data, header.get_best_affine(), header)


def _channels_first(data: NDArray[Any]) -> NDArray[Any]:
    """(X, Y), (X, Y, Z), (X, Y, Z, C) or (X, Y, Z, 1, C) as (C, X, Y, Z)."""
    while data.ndim < 4:
        data = data[..., None]
    extra = [n for n in data.shape[3:] if n > 1]
    if len(extra) > 1:
        raise BadScan("the image has more axes than space and channels", found=data.shape)
    return np.moveaxis(data.reshape(*data.shape[:3], -1), -1, 0)
