"""How a mask becomes an NRRD file: its grid (sheared too) and its voxels, nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from isal import igzip

from medseg.errors import BadOutput
from medseg.volume import LabelMap
from medseg.writers.atomic import atomic_file
from medseg.writers.nifti import mask_dtype

ENDING = ".nrrd"

#: RAS to LPS, the frame that Slicer and ITK write.
_FLIP = np.array([-1.0, -1.0, 1.0])


def write(labelmap: LabelMap, path: Path, source: object = None) -> None:
    """Write a mask on its scan's grid; equal masks give equal bytes.

    Raises:
        BadLabels: a voxel is negative.
        BadOutput: the file cannot be written or its name does not end in ``.nrrd``.
    """
    if path.suffix.lower() != ENDING:
        raise BadOutput(
            "not an NRRD file name", path=path, found=path.suffix or "no ending", expected=ENDING
        )
    dtype = mask_dtype(labelmap).newbyteorder("<")
    voxels = labelmap.data.astype(dtype).tobytes(order="F")
    with atomic_file(path) as file:
        file.write(_header(labelmap, dtype.name).encode("ascii"))
        file.write(igzip.compress(voxels, 2, mtime=0))


def _header(labelmap: LabelMap, kind: str) -> str:
    geometry = labelmap.geometry
    steps = [_vector(geometry.affine[:3, axis] * _FLIP) for axis in range(3)]
    lines = [
        "NRRD0004",
        f"type: {kind}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, geometry.shape))}",
        f"space directions: {' '.join(steps)}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(geometry.affine[:3, 3] * _FLIP)}",
    ]
    return "\n".join(lines) + "\n\n"


def _vector(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str:
    """Every digit that a float64 has; no negative zero."""
    return "(" + ",".join(repr(float(value) + 0.0) for value in values) + ")"
