"""What a NIfTI header says of its array, checked field by field; `forms` reads the grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from medseg.errors import BadScan, NotAVolume

HEADER_BYTES = 540

_CLASSES: dict[int, Any] = {348: Nifti1Header, 540: Nifti2Header}

_DTYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}

_NO_SCAN = {
    1: "one bit a voxel",
    32: "complex numbers",
    128: "RGB colours",
    1536: "128-bit numbers",
    1792: "complex numbers",
    2048: "complex numbers",
    2304: "RGBA colours",
}

#: What stands in a file whose content was not fetched.
_POINTERS = (b"/annex/objects/", b"version https://git-lfs")

#: Intent codes whose numbers are no grey values on a grid: matrices, vectors, points, triangles,
#: and the tables that CIFTI keeps.
_NO_VALUES = {
    **dict.fromkeys((1004, 1005, 1006, 1007, 2003, 2004), "vectors or matrices, one a voxel"),
    **dict.fromkeys((1008, 1009), "points or triangles of a surface"),
    **dict.fromkeys((2001, 2002, 2005), "values on the points of a surface"),
    **dict.fromkeys(range(3000, 3100), "a CIFTI table, not an image"),
}


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """The checked fields.

    Attributes:
        raw: nibabel's header, in the file's byte order.
        single: header and voxels lie in one file.
        shape: voxels along X, Y, Z.
        volumes: how many 3D volumes the file holds.
        dtype: as stored, with byte order.
        offset: byte at which the voxels start in their file.
        slope: scaling of the stored numbers.
        intercept: real-world value of a stored zero.
    """

    raw: Any
    single: bool
    shape: tuple[int, int, int]
    volumes: int
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float


def is_nifti(head: bytes) -> bool:
    """Whether a file that starts with these bytes is NIfTI-1 or 2, of either byte order."""
    return _version(head) is not None


def parse_header(head: bytes, path: Path) -> NiftiHeader:
    """Read and check the first `HEADER_BYTES` bytes of a file.

    Raises:
        BadScan: not NIfTI, or a field that cannot be trusted.
        NotAVolume: a whole file, but not of one number a voxel in 3D.
    """
    version = _version(head)
    if version is None:
        raise _not_nifti(head, path)
    order, size = version
    if len(head) < size:
        raise BadScan(
            "the file is truncated inside its NIfTI header",
            path=path,
            found=f"{len(head)} bytes",
            expected=f"at least {size}",
        )
    raw = _CLASSES[size](head[:size], endianness=order, check=False)
    single = bytes(raw["magic"])[1:2] == b"+"
    shape, volumes = _shape(raw, path)
    slope, intercept = _scaling(raw, path)
    return NiftiHeader(
        raw,
        single,
        shape,
        volumes,
        _dtype(raw, order, path),
        _offset(raw, single, size, path),
        slope,
        intercept,
    )


def _version(head: bytes) -> tuple[str, int] | None:
    if len(head) < 8:
        return None
    for order, name in (("<", "little"), (">", "big")):
        size = int.from_bytes(head[:4], "little" if name == "little" else "big")
        if size == 348 and head[344:348] in (b"n+1\0", b"ni1\0"):
            return order, 348
        if size == 540 and head[4:8] in (b"n+2\0", b"ni2\0"):
            return order, 540
    return None


def _not_nifti(head: bytes, path: Path) -> BadScan:
    if len(head) < 8:
        return BadScan(
            "not a NIfTI file: it is truncated or empty",
            path=path,
            found=f"{len(head)} bytes",
            expected="a header of 348 or 540 bytes",
        )
    if head.startswith(_POINTERS):
        return BadScan(
            "git-annex or Git LFS holds this file's content elsewhere: it was not fetched",
            path=path,
            remedy="Fetch it first: git annex get, datalad get or git lfs pull.",
        )
    size = {int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")}
    if 348 in size and len(head) < 348:
        return BadScan(
            "the file is truncated inside its NIfTI header",
            path=path,
            found=f"{len(head)} bytes",
            expected="at least 348",
        )
    if 348 in size:
        return BadScan(
            "an ANALYZE 7.5 file, not NIfTI: its header does not distinguish left from right",
            path=path,
            remedy="Convert the scan again from its source to NIfTI.",
        )
    return BadScan(
        "not a NIfTI file, whatever its name says: its format is not recognised",
        path=path,
        found="neither a NIfTI header nor a gzip stream that holds one",
        expected="a NIfTI-1 or NIfTI-2 header",
    )


def _shape(raw: Any, path: Path) -> tuple[tuple[int, int, int], int]:
    dim = [int(n) for n in raw["dim"]]
    if 3 < dim[0] <= 7:  # some writers leave axes 0 or less that they do not use
        dim[4 : dim[0] + 1] = [max(n, 1) for n in dim[4 : dim[0] + 1]]
    if not 1 <= dim[0] <= 7 or any(n < 1 for n in dim[1 : dim[0] + 1]):
        raise BadScan(
            "the header's dimensions are corrupt",
            path=path,
            found=dim,
            expected="1 to 7 axes of one voxel or more",
        )
    if dim[0] < 2:
        raise NotAVolume("one dimension only: not an image", path=path, found=dim[:2])
    kind = _NO_VALUES.get(int(raw["intent_code"]), "")
    if not kind and dim[0] > 4 and math.prod(dim[5 : dim[0] + 1]) > 1:
        kind = "several numbers a voxel in its fifth dimension"
    if kind:
        raise NotAVolume(f"{kind}: not one value per voxel", path=path, found=dim[1 : dim[0] + 1])
    z = dim[3] if dim[0] > 2 else 1
    if sorted((dim[1], dim[2], z))[1] == 1:
        raise NotAVolume("one line of voxels only: not an image", path=path, found=dim[1:4])
    return (dim[1], dim[2], z), math.prod(dim[4 : dim[0] + 1])


def _dtype(raw: Any, order: str, path: Path) -> np.dtype[Any]:
    code = int(raw["datatype"])
    if code in _NO_SCAN:
        raise NotAVolume(
            f"the voxels are {_NO_SCAN[code]}, not one value each",
            path=path,
            found=f"NIfTI datatype {code}",
            expected="integers or real numbers",
        )
    if code not in _DTYPES:
        raise BadScan(
            "the voxels are of an unknown type",
            path=path,
            found=f"NIfTI datatype {code}",
            expected=f"one of {sorted(_DTYPES)}",
        )
    dtype = np.dtype(order + _DTYPES[code])
    if int(raw["bitpix"]) not in (0, dtype.itemsize * 8):
        raise BadScan(
            "the header contradicts itself on the voxels' type",
            path=path,
            found=f"{int(raw['bitpix'])} bits a voxel of {dtype.name}",
            expected=f"{dtype.itemsize * 8}",
        )
    return dtype


def _offset(raw: Any, single: bool, header_size: int, path: Path) -> int:
    offset = float(raw["vox_offset"])
    least = header_size + 4 if single else 0
    if offset == 0:
        return least
    if not (math.isfinite(offset) and offset == int(offset) and offset >= least):
        raise BadScan(
            "the header is corrupt: no voxels can start where it says",
            path=path,
            found=f"vox_offset {offset:g}",
            expected=f"{least} or more",
        )
    return int(offset)


def _scaling(raw: Any, path: Path) -> tuple[float, float]:
    slope, intercept = float(raw["scl_slope"]), float(raw["scl_inter"])
    if slope == 0 or math.isnan(slope):
        return 1.0, 0.0
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise BadScan(
            "the scaling of the values is not finite",
            path=path,
            found=f"scl_slope {slope:g}, scl_inter {intercept:g}",
        )
    return slope, intercept
