"""How a mask becomes a MetaImage file (``.mha``): its grid and its voxels, nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from isal import isal_zlib

from medseg.errors import BadOutput
from medseg.volume import LabelMap
from medseg.writers.atomic import atomic_file
from medseg.writers.nifti import mask_dtype

ENDING = ".mha"

_TYPES = {
    "uint8": "MET_UCHAR",
    "uint16": "MET_USHORT",
    "uint32": "MET_UINT",
    "uint64": "MET_ULONG_LONG",
}

#: RAS to LPS, the frame that ITK writes.
_FLIP = np.array([-1.0, -1.0, 1.0])


def write(labelmap: LabelMap, path: Path, source: object = None) -> None:
    """Write a mask on its scan's grid; equal masks give equal bytes.

    Raises:
        BadLabels: a voxel is negative.
        BadOutput: the file cannot be written, its name does not end in ``.mha``, or the grid is
            sheared, which the programs that read this format refuse.
    """
    if path.suffix.lower() != ENDING:
        raise BadOutput(
            "not a MetaImage file name",
            path=path,
            found=path.suffix or "no ending",
            expected=ENDING,
        )
    if not labelmap.geometry.is_orthogonal:
        raise BadOutput(
            "a sheared grid does not fit into MetaImage",
            path=path,
            remedy="Choose --format nifti or nrrd.",
        )
    dtype = mask_dtype(labelmap).newbyteorder("<")
    packed = isal_zlib.compress(labelmap.data.astype(dtype).tobytes(order="F"), 2)
    with atomic_file(path) as file:
        file.write(_header(labelmap, _TYPES[dtype.name], len(packed)).encode("ascii"))
        file.write(packed)


def _header(labelmap: LabelMap, kind: str, packed_bytes: int) -> str:
    geometry = labelmap.geometry
    directions = (geometry.directions * _FLIP[:, None]).T.ravel()
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = True",
        f"CompressedDataSize = {packed_bytes}",
        f"TransformMatrix = {_numbers(directions)}",
        f"Offset = {_numbers(geometry.affine[:3, 3] * _FLIP)}",
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
