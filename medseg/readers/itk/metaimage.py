"""What a MetaImage header (``.mha``, ``.mhd``) says, checked field by field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import BadScan, NotAVolume
from medseg.readers.bytes import Packing
from medseg.readers.itk.header import (
    FLIP,
    MILLIMETRES,
    MOST_HEADER_BYTES,
    ItkHeader,
    affine_from,
    numbers,
    sizes,
    voxel_file,
)

#: What a MetaImage starts with, as ITK writes it.
STARTS = (b"ObjectType", b"NDims")

_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}

#: How types end that are known and hold several numbers, or none.
_NO_NUMBER = ("_ARRAY", "_MATRIX", "MET_STRING", "MET_NONE", "MET_OTHER", "MET_ASCII_CHAR")

#: What stands for yes and no; MetaIO looks at the first letter.
_TRUE, _FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")

#: Names of one field in the order of MetaIO's own preference.
_MATRIX = ("TransformMatrix", "Rotation", "Orientation")
_OFFSET = ("Offset", "Position", "Origin")
_MSB = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")

#: A direction is a unit vector but for the digits that a text header keeps.
_UNIT_TOLERANCE = 1e-3


def parse(path: Path) -> ItkHeader:
    """Read and check the header of a MetaImage.

    Raises:
        BadScan: damaged, without geometry, or of a kind that is not read.
        NotAVolume: a whole file, but not of one number a voxel in 3D.
    """
    fields, length = _fields(path)
    if fields.get("ObjectType", "Image").lower() != "image":
        raise NotAVolume("a MetaIO object, but no image", path=path)
    dimension = sizes(_need(fields, ("NDims",), path), "NDims", path, 1)[0]
    if not 3 <= dimension <= 4:
        raise NotAVolume(f"{dimension} dimensions, not a volume", path=path, expected="3 or 4")
    _refuse_kinds(fields, path)
    shape = sizes(_need(fields, ("DimSize",), path), "DimSize", path, dimension)
    packing = Packing.ZLIB if _is_true(fields, "CompressedData", path) else Packing.PLAIN
    voxels, start, skip = _place(fields, path, length, packing)
    return ItkHeader(
        (shape[0], shape[1], shape[2]),
        shape[3] if dimension == 4 else 1,
        _dtype(fields, path),
        _affine(fields, dimension, path),
        voxels,
        start,
        packing,
        skip,
    )


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """The fields, and the byte behind the line that ends them."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while file.tell() < MOST_HEADER_BYTES:
            line = file.readline(MOST_HEADER_BYTES)
            name, equals, value = line.decode("utf-8", "replace").partition("=")
            if not equals and line.strip():
                raise BadScan("not a MetaImage header: a line without '='", path=path)
            name = name.strip()
            if not line or name in fields:
                break
            fields[name] = value.strip()
            if name == "ElementDataFile":
                return fields, file.tell()
    raise BadScan(
        "the MetaImage header is truncated or corrupt",
        path=path,
        expected="ElementDataFile as its last line",
    )


def _need(fields: dict[str, str], names: tuple[str, ...], path: Path) -> str:
    for name in names:
        if name in fields:
            return fields[name]
    what = "geometry" if names in (_MATRIX, _OFFSET) else repr(names[0])
    raise BadScan(
        f"the MetaImage header is incomplete: it has no {what}",
        path=path,
        expected=f"a field {names[0]!r}",
    )


def _is_true(fields: dict[str, str], name: str, path: Path) -> bool:
    value = fields.get(name, "False").lower()
    if value not in _TRUE + _FALSE:
        raise BadScan(
            f"the header's {name!r} is corrupt",
            path=path,
            found=repr(value[:40]),
            expected="True or False",
        )
    return value in _TRUE


def _refuse_kinds(fields: dict[str, str], path: Path) -> None:
    if not _is_true(fields, "BinaryData", path):
        raise BadScan(
            "voxels written as text are not read",
            path=path,
            remedy="Save it again as binary MetaImage or NIfTI.",
        )
    channels = fields.get("ElementNumberOfChannels", "1")
    if numbers(channels, "ElementNumberOfChannels", path, 1) != [1]:
        raise NotAVolume(
            "several components per voxel, not one value",
            path=path,
            found=channels[:20],
            remedy="Split it into one file per component.",
        )
    if fields.get("DistanceUnits", "mm").lower() not in MILLIMETRES:
        raise BadScan(
            "the unit of length is not mm",
            path=path,
            found=fields["DistanceUnits"][:20],
            expected="mm",
        )
    scaling = [
        fields.get("ElementToIntensityFunctionSlope", "1"),
        fields.get("ElementToIntensityFunctionOffset", "0"),
    ]
    if numbers(" ".join(scaling), "ElementToIntensityFunction", path, 2) != [1, 0]:
        raise BadScan(
            "a scaling of the values that readers disagree about",
            path=path,
            found=scaling,
            remedy="Save it again with the scaling applied.",
        )


def _dtype(fields: dict[str, str], path: Path) -> np.dtype[Any]:
    name = _need(fields, ("ElementType",), path).upper()
    if name not in _TYPES and not name.endswith(_NO_NUMBER):
        raise BadScan("the voxels are of an unknown type", path=path, found=repr(name[:40]))
    if name not in _TYPES:
        raise NotAVolume(
            "the voxels are of a type that holds no single number", path=path, found=repr(name[:40])
        )
    msb = next((key for key in _MSB if key in fields), _MSB[0])
    return np.dtype((">" if _is_true(fields, msb, path) else "<") + _TYPES[name])


def _affine(fields: dict[str, str], dimension: int, path: Path) -> Any:
    """LPS directions, one axis after the other, times spacing; the first three axes are space."""
    matrix = np.array(numbers(_need(fields, _MATRIX, path), _MATRIX[0], path, dimension**2))
    directions = matrix.reshape(dimension, dimension)[:3, :3].T
    if np.abs(np.linalg.norm(directions, axis=0) - 1).max() > _UNIT_TOLERANCE:
        raise BadScan(
            "the directions are no unit vectors", path=path, found=directions.T.round(4).tolist()
        )
    spacing = numbers(
        _need(fields, ("ElementSpacing", "ElementSize"), path), "ElementSpacing", path, dimension
    )[:3]
    if min(spacing) <= 0:
        raise BadScan(
            "the header's 'ElementSpacing' is corrupt",
            path=path,
            found=spacing,
            expected="positive numbers",
        )
    offset = numbers(_need(fields, _OFFSET, path), _OFFSET[0], path, dimension)[:3]
    return affine_from(FLIP @ directions * np.array(spacing), FLIP @ np.array(offset))


def _place(
    fields: dict[str, str], path: Path, length: int, packing: Packing
) -> tuple[Path, int | None, int]:
    """The file that holds the voxels, where they start in it, and bytes to skip there."""
    name = fields["ElementDataFile"]
    local = name.upper() == "LOCAL"
    voxels = path if local else voxel_file(path, name)
    size = numbers(fields.get("HeaderSize", "0"), "HeaderSize", path, 1)[0]
    if size == -1 and packing is Packing.PLAIN:
        return voxels, None, 0
    if size < 0 or not size.is_integer() or (local and size):
        raise BadScan("the header's 'HeaderSize' is corrupt", path=path, found=f"{size:g}")
    return voxels, length if local else int(size), 0
