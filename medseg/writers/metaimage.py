"""Masks as MetaImage files (``.mha``): their grid and their voxels, nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from isal import isal_zlib

from medseg.errors import BadOutput
from medseg.geometry import LPS_SIGNS, Geometry
from medseg.labels import LabelTable
from medseg.volume import LabelMap, Origin
from medseg.writers.atomic import atomic_file, require_ending
from medseg.writers.nifti import mask_dtype

ENDING = ".mha"

_TYPES = {
    "uint8": "MET_UCHAR",
    "uint16": "MET_USHORT",
    "uint32": "MET_UINT",
    "uint64": "MET_ULONG_LONG",
}


def check(geometry: Geometry, origin: Origin, labels: LabelTable | None) -> None:
    """Refuse a sheared grid.

    Raises:
        BadOutput: the grid is sheared, which the programs that read this format refuse.
    """
    if not geometry.is_orthogonal:
        raise BadOutput(
            "a sheared grid does not fit into MetaImage",
            path=origin.path or None,
            remedy="Choose --format nifti or nrrd.",
        )


def write(labelmap: LabelMap, path: Path, source: object = None) -> tuple[str, ...]:
    """Write a mask on its scan's grid; equal masks give equal bytes.

    Raises:
        BadLabels: a voxel is negative.
        BadOutput: the file cannot be written, its name does not end in ``.mha``, or the grid is
            sheared.
    """
    require_ending(path, ENDING)
    check(labelmap.geometry, labelmap.origin, labelmap.labels)
    dtype = mask_dtype(labelmap).newbyteorder("<")
    packed = isal_zlib.compress(labelmap.data.astype(dtype).tobytes(order="F"), 2)
    with atomic_file(path) as file:
        file.write(_header(labelmap, _TYPES[dtype.name], len(packed)).encode("ascii"))
        file.write(packed)
    return ()


def _header(labelmap: LabelMap, kind: str, packed_bytes: int) -> str:
    geometry = labelmap.geometry
    directions = (geometry.directions * LPS_SIGNS[:, None]).T.ravel()
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = True",
        f"CompressedDataSize = {packed_bytes}",
        f"TransformMatrix = {_numbers(directions)}",
        f"Offset = {_numbers(geometry.affine[:3, 3] * LPS_SIGNS)}",
        "CenterOfRotation = 0 0 0",
        f"ElementSpacing = {_numbers(np.array(geometry.spacing_mm))}",
        f"DimSize = {' '.join(map(str, geometry.shape))}",
        f"ElementType = {kind}",
        "ElementDataFile = LOCAL",
    ]
    return "\n".join(lines) + "\n"


def _numbers(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    """Every digit that a float64 has; no negative zero."""
    return " ".join(repr(float(value) + 0.0) for value in values)
