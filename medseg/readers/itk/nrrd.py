"""What an NRRD header (``.nrrd``, ``.nhdr``) says, checked field by field."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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

MAGIC = b"NRRD000"

_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": (
        "longlong",
        "long long",
        "long long int",
        "signed long long",
        "signed long long int",
        "int64",
        "int64_t",
    ),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}

#: Matrices that turn the spaces which say left from right into RAS.
_SPACES = {
    "left-posterior-superior": FLIP,
    "lps": FLIP,
    "right-anterior-superior": np.eye(3),
    "ras": np.eye(3),
    "left-anterior-superior": np.diag([-1.0, 1.0, 1.0]),
    "las": np.diag([-1.0, 1.0, 1.0]),
}

_PACKINGS = {"raw": Packing.PLAIN, "gzip": Packing.GZIP, "gz": Packing.GZIP}


def parse(path: Path) -> ItkHeader:
    """Read and check the header of an ``.nrrd`` or ``.nhdr`` file.

    Raises:
        BadScan: damaged, without geometry, or of a kind that is not read.
        NotAVolume: a whole file, but not of one number a voxel in 3D.
    """
    fields, length = _fields(path)
    dimension = sizes(_need(fields, "dimension", path), "dimension", path, 1)[0]
    if not 3 <= dimension <= 4:
        raise NotAVolume(f"{dimension} dimensions, not a volume", path=path, expected="3 or 4")
    shape = sizes(_need(fields, "sizes", path), "sizes", path, dimension)
    directions = _directions(fields, dimension, path)
    volumes = _volumes(shape, directions, path)
    spatial = [axis for axis, step in enumerate(directions) if step is not None]
    steps = np.array([directions[axis] for axis in spatial]).T
    to_ras = _to_ras(fields, path)
    origin = np.array(_vector(_need(fields, "space origin", path), "space origin", path))
    x, y, z = (shape[axis] for axis in spatial)
    packing = _packing(fields, path)
    voxels, start, skip = _place(fields, path, length, packing)
    return ItkHeader(
        (x, y, z),
        volumes,
        _dtype(fields, path),
        affine_from(to_ras @ steps, to_ras @ origin),
        voxels,
        start,
        packing,
        skip,
    )


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """The fields, and the byte behind the blank line that ends them."""
    with path.open("rb") as file:
        head = file.read(MOST_HEADER_BYTES)
    blank = re.search(rb"\r?\n\r?\n", head)
    if blank is None and len(head) == MOST_HEADER_BYTES:
        raise BadScan("the NRRD header has no end", path=path)
    text = (head if blank is None else head[: blank.start()]).decode("utf-8", "replace")
    fields: dict[str, str] = {}
    for line in text.splitlines()[1:]:
        name, colon, value = line.partition(": ")
        if line.startswith("#") or not colon or ":=" in name:
            continue  # a comment, or a key that somebody added
        name = name.strip().lower()
        if name in fields:
            raise BadScan(f"the NRRD header says {name[:40]!r} twice", path=path)
        fields[name] = value.strip()
    return fields, len(head) if blank is None else blank.end()


def _need(fields: dict[str, str], name: str, path: Path) -> str:
    if name not in fields:
        what = "geometry" if name.startswith("space") else f"{name!r}"
        raise BadScan(
            f"the NRRD header is incomplete: it has no {what}",
            path=path,
            expected=f"a field {name!r}",
        )
    return fields[name]


def _vector(text: str, name: str, path: Path) -> list[float]:
    inner = re.fullmatch(r"\(([^()]*)\)", text.strip())
    return numbers((inner.group(1) if inner else "?").replace(",", " "), name, path, 3)


def _directions(fields: dict[str, str], dimension: int, path: Path) -> list[list[float] | None]:
    """The step along each array axis in the file's space; ``None`` for an axis of another kind."""
    text = _need(fields, "space directions", path)
    words = re.findall(r"none|\([^()]*\)", text)
    steps = [None if word == "none" else _vector(word, "space directions", path) for word in words]
    if len(steps) != dimension:
        raise BadScan(
            "the header's 'space directions' are corrupt",
            path=path,
            found=f"{len(steps)} vectors",
            expected=f"{dimension}",
        )
    return steps


def _volumes(shape: list[int], directions: list[list[float] | None], path: Path) -> int:
    others = [axis for axis, step in enumerate(directions) if step is None]
    if len(shape) - len(others) != 3:
        raise NotAVolume(
            "not a volume in space",
            path=path,
            found=f"{len(shape) - len(others)} spatial axes",
            expected="3",
        )
    count = shape[others[0]] if others else 1
    if count > 1 and others[0] != len(shape) - 1:
        raise NotAVolume(
            f"several components per voxel ({count}), not one value",
            path=path,
            remedy="Split it into one file per component.",
        )
    return count


def _to_ras(fields: dict[str, str], path: Path) -> NDArray[np.float64]:
    space = _need(fields, "space", path).lower()
    if space not in _SPACES:
        raise BadScan(
            "the space does not distinguish left from right",
            path=path,
            found=repr(space[:40]),
            expected="left-posterior-superior, or the same in RAS or LAS",
        )
    units = re.findall(r'"([^"]*)"', fields.get("space units", ""))
    if any(unit.lower() not in MILLIMETRES for unit in units):
        raise BadScan("the unit of length is not mm", path=path, found=units[:3], expected="mm")
    return np.asarray(_SPACES[space])


def _dtype(fields: dict[str, str], path: Path) -> np.dtype[Any]:
    name = _need(fields, "type", path).lower()
    code = next((code for code, names in _TYPES.items() if name in names), None)
    if name == "block":
        raise NotAVolume("the voxels are blocks of bytes, which hold no single number", path=path)
    if code is None:
        raise BadScan("the voxels are of an unknown type", path=path, found=repr(name[:40]))
    if code[1] == "1":
        return np.dtype(code)
    order = {"little": "<", "big": ">"}.get(_need(fields, "endian", path).lower())
    if order is None:
        raise BadScan(
            "the byte order is unknown",
            path=path,
            found=repr(fields["endian"][:40]),
            expected="little or big",
        )
    return np.dtype(order + code)


def _packing(fields: dict[str, str], path: Path) -> Packing:
    name = _need(fields, "encoding", path).lower()
    if name not in _PACKINGS:
        raise BadScan(
            "an encoding that is not read",
            path=path,
            found=repr(name[:40]),
            expected="raw or gzip",
            remedy="Save it again as gzip NRRD or NIfTI.",
        )
    return _PACKINGS[name]


def _place(
    fields: dict[str, str], path: Path, length: int, packing: Packing
) -> tuple[Path, int | None, int]:
    """The file that holds the voxels, where they start in it, and bytes to skip there."""
    name = fields.get("data file") or fields.get("datafile")
    for line_skip in ("line skip", "lineskip"):
        if fields.get(line_skip, "0") != "0":
            raise BadScan("lines before the voxels are not read", path=path)
    skip = numbers(fields.get("byte skip") or fields.get("byteskip") or "0", "byte skip", path, 1)
    voxels, start = (path, length) if name is None else (voxel_file(path, name), 0)
    if skip == [-1] and packing is Packing.PLAIN:
        return voxels, None, 0
    if skip[0] < 0 or not skip[0].is_integer():
        raise BadScan("the header's 'byte skip' is corrupt", path=path, found=f"{skip[0]:g}")
    return voxels, start, int(skip[0])
