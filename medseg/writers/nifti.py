"""Masks and scans as NIfTI files on exactly the grid of their scan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from isal import igzip
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from medseg.errors import BadLabels
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.volume import LabelMap, NiftiForms, Origin, Volume
from medseg.writers.atomic import atomic_file, require_ending

ENDING = ".nii.gz"

#: igzip's own default: on masks and scans alike its level 3 is many times slower for nothing.
_GZIP_LEVEL = 2

_QUATERNION = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")

#: Millimetres; what the spatial part of ``xyzt_units`` counts in, where it is not those.
_MM, _UNITS_MM = 2, {1: 1000.0, 3: 0.001}

#: Planes at a time: memory stays small, and arrays stored last axis fastest are read in order.
_SLAB = 16

#: NIfTI-1 counts voxels along an axis in 16 bits.
_MOST_NIFTI1 = 32767


def check(geometry: Geometry, origin: Origin, labels: LabelTable | None) -> None:
    """Any scan's mask fits into NIfTI."""


def write(labelmap: LabelMap, path: Path, source: object = None) -> tuple[str, ...]:
    """Write a mask as the twin of its scan.

    Shape, affine, pixdim, sform, qform, their codes and units are the scan's to the bit where
    the scan was NIfTI. Otherwise the sform has code 1, and the qform too where it can say the
    same grid (not where that is sheared). No free text of the scan's header is copied. Equal
    masks give equal bytes.

    Raises:
        BadLabels: a voxel is negative.
        BadOutput: the file cannot be written or its name does not end in ``.nii[.gz]``.
    """
    dtype = mask_dtype(labelmap)
    header = image_header(labelmap.geometry, labelmap.origin, dtype, channels=1)
    _write(header, path, (slab.astype(dtype) for slab in _slabs(labelmap.data)))
    return ()


def write_volume(volume: Volume, path: Path) -> None:
    """Write a scan on its own grid, integers where its real-world values are.

    The scaling is folded in where that is exact; otherwise the values are float32.
    Several channels become the fourth dimension.

    Raises:
        BadOutput: the file cannot be written or its name does not end in ``.nii[.gz]``.
    """
    dtype = value_dtype(volume)
    header = image_header(volume.geometry, volume.origin, dtype, channels=volume.data.shape[0])
    _write(header, path, _values(volume, dtype))


def write_levels(
    planes: Iterable[NDArray[Any]],
    geometry: Geometry,
    origin: Origin,
    path: Path,
    *,
    steps: int,
) -> None:
    """Write fractions such as probabilities as the twin of their scan, in whole steps.

    Args:
        planes: (X, Y, few) steps, along Z, in the smallest unsigned type that holds `steps`.
        geometry: the scan's grid.
        origin: what the scan's header held.
        path: the file to appear, whole or not at all.
        steps: how many are 1; what one is worth stands in the header as ``scl_slope``.

    Raises:
        BadOutput: the file cannot be written or its name does not end in ``.nii[.gz]``.
    """
    header = image_header(geometry, origin, np.min_scalar_type(steps), channels=1)
    header["scl_slope"] = 1 / steps
    _write(header, path, planes)


def mask_dtype(labelmap: LabelMap) -> np.dtype[Any]:
    """The smallest unsigned integer type that holds the table's labels and every voxel.

    Raises:
        BadLabels: a voxel is negative.
    """
    lowest, highest = int(labelmap.data.min()), int(labelmap.data.max())
    if lowest < 0:
        raise BadLabels(
            "a mask holds no negative values", path=labelmap.origin.path or None, found=lowest
        )
    if labelmap.labels is not None:
        highest = max(highest, *labelmap.labels.values)
    return np.dtype(np.min_scalar_type(highest))


def value_dtype(volume: Volume) -> np.dtype[Any]:
    """The type that holds every real-world value: an integer where all are whole."""
    data, slope, intercept = volume.data, float(volume.slope), float(volume.intercept)
    if data.dtype.kind in "iu" and (slope, intercept) == (1.0, 0.0):
        return data.dtype.newbyteorder("=")
    lowest, highest = np.inf, -np.inf
    whole = data.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer()
    for slab in (slab for channel in data for slab in _slabs(channel)):
        ends = np.array([slab.min(), slab.max()], np.float64) * slope + intercept
        if not np.isfinite(ends).all():
            return np.dtype(np.float32)
        if not whole:
            values = slab.astype(np.float64) * slope + intercept
            if not np.array_equal(values, np.rint(values)):
                return np.dtype(np.float32)
        lowest, highest = min(lowest, *ends), max(highest, *ends)
    for candidate in (np.int16, np.uint16, np.int32):
        if np.iinfo(candidate).min <= lowest and highest <= np.iinfo(candidate).max:
            return np.dtype(candidate)
    return np.dtype(np.float32)


def _values(volume: Volume, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """Real-world values, slab by slab in file order."""
    slope, intercept = float(volume.slope), float(volume.intercept)
    exact = dtype.kind in "iu" and volume.data.dtype.kind in "iu" and slope.is_integer()
    for slab in (slab for channel in volume.data for slab in _slabs(channel)):
        if (slope, intercept) == (1.0, 0.0):
            yield slab.astype(dtype)
        elif exact and intercept.is_integer():
            # Wrapping on the way is harmless: the result is known to fit.
            factor, offset = np.array([int(slope), int(intercept)]).astype(dtype)
            yield slab.astype(dtype) * factor + offset
        else:
            values = slab.astype(np.float64) * slope + intercept
            yield (np.rint(values) if dtype.kind in "iu" else values).astype(dtype)


def _slabs(data: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """(X, Y, few) slabs along Z: the order of a NIfTI file."""
    return (data[:, :, z : z + _SLAB] for z in range(0, data.shape[2], _SLAB))


def image_header(geometry: Geometry, origin: Origin, dtype: np.dtype[Any], *, channels: int) -> Any:
    """A nibabel header that repeats the scan's fields, or places the grid by sform and qform."""
    forms = origin.forms
    new = forms is not None and forms.nifti_version == 2
    header = Nifti2Header() if new or max(geometry.shape) > _MOST_NIFTI1 else Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(geometry.shape if channels == 1 else (*geometry.shape, channels))
    if forms is None or not _repeat(header, forms, geometry):
        _place(header, geometry)
    header["magic"] = header.single_magic
    header["vox_offset"] = header.sizeof_hdr + 4
    header["scl_slope"], header["scl_inter"] = 1, 0
    return header


def _repeat(header: Any, forms: NiftiForms, geometry: Geometry) -> bool:
    """Set the scan's own fields; return whether they describe the grid at hand."""
    header["pixdim"] = forms.pixdim
    header["sform_code"], header["qform_code"] = forms.sform_code, forms.qform_code
    header["xyzt_units"] = forms.xyzt_units
    for name, value in zip(_QUATERNION, forms.quaternion, strict=True):
        header[name] = value
    if forms.sform is not None:
        for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
            header[name] = forms.sform[row]
    copy = header.copy()
    copy["pixdim"][0] = copy["pixdim"][0] or 1
    try:
        affine = np.array(copy.get_best_affine(), dtype=np.float64)
    except HeaderDataError:
        return False
    affine[:3] *= _UNITS_MM.get(forms.xyzt_units & 7, 1.0)
    return bool(np.array_equal(affine, geometry.affine))


def _place(header: Any, geometry: Geometry) -> None:
    """Set an sform, and a qform where that can say the same."""
    header["pixdim"] = 1
    header["pixdim"][1:4] = geometry.spacing_mm
    header["xyzt_units"] = _MM
    header.set_qform(geometry.affine, code=1, strip_shears=True)
    if not geometry.same_grid(Geometry(geometry.shape, header.get_qform())):
        for name in _QUATERNION:
            header[name] = 0
        header["qform_code"], header["pixdim"][0] = 0, 1
        header["pixdim"][1:4] = geometry.spacing_mm
    header.set_sform(geometry.affine, code=1)


def _write(header: Any, path: Path, slabs: Iterable[NDArray[Any]]) -> None:
    require_ending(path, ".nii.gz", ".nii")
    with atomic_file(path) as file:
        if path.name.lower().endswith(".gz"):
            with igzip.IGzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as packed:
                _write_content(header, cast("BinaryIO", packed), slabs)
        else:
            _write_content(header, file, slabs)


def _write_content(header: Any, file: BinaryIO, slabs: Iterable[NDArray[Any]]) -> None:
    file.write(header.binaryblock + bytes(4))
    for slab in slabs:
        file.write(slab.tobytes(order="F"))
