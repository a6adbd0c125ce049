"""Where a NIfTI header places its voxels: by the sform, else the qform, in mm."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from medseg.errors import BadScan
from medseg.geometry import Geometry
from medseg.readers.grid import corner_distance_mm, scan_geometry
from medseg.readers.nifti.header import NiftiHeader
from medseg.volume import NiftiForms

#: Spatial units other than mm, in mm; unknown (0) counts as mm, as in every reader.
UNITS_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}


_QUATERNION = ("quatern_b", "quatern_c", "quatern_d")
#: A quaternion longer than this (squared) is no rounded one: half a degree of turn at most.
_MOST_SQUARED = 1.01

#: Share by which pixdim may differ from the sform's voxel size without a word.
_PIXDIM_TOLERANCE = 0.01


class MissingForm(StrEnum):
    """What to do with a header whose sform and qform codes are both 0."""

    REFUSE = "refuse"
    #: Take the voxel sizes, with orientation and position unknown (as nibabel places it).
    SPACING = "spacing"


def read_forms(header: NiftiHeader) -> NiftiForms:
    """The geometric fields, to the bit but for a quaternion that no reader could take."""
    return forms_of(header.raw)


def forms_of(header: Any) -> NiftiForms:
    """The same of a nibabel NIfTI header."""
    raw = _with_unit_quaternion(header)
    offsets = ("qoffset_x", "qoffset_y", "qoffset_z")
    b, c, d, x, y, z = (float(raw[name]) for name in (*_QUATERNION, *offsets))
    code = 0 if _is_void_sform(raw) else int(raw["sform_code"])
    return NiftiForms(
        sform=raw.get_sform().astype(np.float64) if code else None,
        sform_code=code,
        quaternion=(b, c, d, x, y, z),
        qform_code=int(raw["qform_code"]),
        pixdim=tuple(float(p) for p in raw["pixdim"]),
        xyzt_units=int(raw["xyzt_units"]),
        nifti_version=2 if isinstance(raw, Nifti2Header) else 1,
    )


def read_geometry(
    header: NiftiHeader, path: Path, *, missing_form: MissingForm
) -> tuple[Geometry, tuple[str, ...]]:
    """The grid by the sform, else the qform, in mm; and what to warn of.

    Raises:
        BadScan: no form (unless `missing_form` says what then), an unknown code, or an absurd
            affine.
    """
    raw = header.raw
    codes = int(raw["sform_code"]), int(raw["qform_code"])
    if not all(0 <= code <= 5 for code in codes):
        raise BadScan(
            "the geometry is of an unknown kind",
            path=path,
            found=f"sform_code {codes[0]}, qform_code {codes[1]}",
            expected="0 to 5",
        )
    to_mm, warnings = _units(raw, path)
    if _is_void_sform(raw) and codes[1]:
        codes = 0, codes[1]
        warnings += ("the sform has a code but is no grid; the qform is used",)
    if codes == (0, 0):
        if missing_form is MissingForm.REFUSE:
            raise BadScan(
                "the header has no geometry: sform and qform codes are both 0, so orientation and "
                "position are unknown",
                path=path,
                remedy="Convert the scan again from its source, or set a form if you know it.",
            )
        affine = _base_affine(header, path)
        warnings += (
            "no sform and no qform: orientation and position are unknown, only voxel "
            "sizes are used",
        )
    else:
        with np.errstate(invalid="ignore"):  # NaN is refused below
            affine = raw.get_sform() if codes[0] else _qform(raw, path)
    geometry = scan_geometry(header.shape, _in_mm(affine, to_mm), path)
    if codes[0]:
        warnings += _disagreements(header, geometry, to_mm, path)
    return geometry, warnings


def _is_void_sform(raw: Any) -> bool:
    """Whether the sform has a code and no axes that span space: zeros, NaN, one axis twice."""
    rows = np.array([raw[name][:3] for name in ("srow_x", "srow_y", "srow_z")], np.float64)
    void = not np.isfinite(rows).all() or np.linalg.matrix_rank(rows) < 3
    return bool(raw["sform_code"]) and void


def _units(raw: Any, path: Path) -> tuple[float, tuple[str, ...]]:
    code = int(raw["xyzt_units"]) & 7
    if code not in UNITS_MM:
        raise BadScan(
            "the unit of length is unknown",
            path=path,
            found=f"xyzt_units {code}",
            expected="metres, millimetres or micrometres",
        )
    name = {1: "metres", 3: "micrometres"}.get(code)
    warnings = (f"the header counts in {name}; volumes are converted to mm",) if name else ()
    return UNITS_MM[code], warnings


def _in_mm(affine: NDArray[Any], to_mm: float) -> NDArray[np.float64]:
    scaled = np.array(affine, dtype=np.float64)
    if to_mm != 1.0:
        scaled[:3] *= to_mm
    return scaled


def _qform(raw: Any, path: Path) -> NDArray[Any]:
    """The affine of the quaternion; a qfac that is not negative means 1, as in nifti1_io."""
    copy = _with_unit_quaternion(raw).copy()
    copy["pixdim"][0] = -1 if float(copy["pixdim"][0]) < 0 else 1
    try:
        return np.asarray(copy.get_qform())
    except (HeaderDataError, ValueError) as error:
        raise BadScan("the qform is corrupt", path=path, found=error) from None


def _with_unit_quaternion(raw: Any) -> Any:
    """The header; a quaternion that rounding made a little too long is shortened to a half turn."""
    squared = sum(float(raw[name]) ** 2 for name in _QUATERNION)
    if not 1 < squared < _MOST_SQUARED:
        return raw
    copy = raw.copy()
    for name in _QUATERNION:
        copy[name] = float(raw[name]) / math.sqrt(squared)
    return copy


def _base_affine(header: NiftiHeader, path: Path) -> NDArray[Any]:
    zooms = [float(p) for p in header.raw["pixdim"][1:4]]
    if not all(math.isfinite(zoom) and zoom > 0 for zoom in zooms):
        raise BadScan(
            "the header has no geometry: neither forms nor voxel sizes",
            path=path,
            found=f"pixdim {zooms}",
        )
    return np.asarray(header.raw.get_base_affine())


def _disagreements(
    header: NiftiHeader, geometry: Geometry, to_mm: float, path: Path
) -> tuple[str, ...]:
    """Where the rest of the header contradicts the sform that is used."""
    warnings: tuple[str, ...] = ()
    pixdim = np.abs([float(p) for p in header.raw["pixdim"][1:4]]) * to_mm
    if not np.allclose(pixdim, geometry.spacing_mm, rtol=_PIXDIM_TOLERANCE, atol=0):
        stated = "x".join(f"{mm:.4g}" for mm in pixdim)
        used = "x".join(f"{mm:.4g}" for mm in geometry.spacing_mm)
        warnings += (f"pixdim ({stated} mm) and the sform ({used} mm) disagree; the sform is used",)
    if int(header.raw["qform_code"]) == 0:
        return warnings
    try:
        other = scan_geometry(header.shape, _in_mm(_qform(header.raw, path), to_mm), path)
    except BadScan:
        return (*warnings, "the qform is corrupt; the sform is used")
    if not geometry.same_grid(other):
        apart = corner_distance_mm(geometry, other)
        warnings += (
            f"sform and qform disagree by {apart:.4g} mm at a corner; the sform is used "
            "and masks keep both",
        )
    return warnings
