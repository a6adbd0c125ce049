"""Masks as NRRD files: their grid (sheared too) and their voxels, nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from isal import igzip

from medseg.geometry import LPS_SIGNS, Geometry
from medseg.labels import LabelTable
from medseg.volume import LabelMap, Origin
from medseg.writers.atomic import atomic_file, require_ending
from medseg.writers.nifti import mask_dtype

ENDING = ".nrrd"


def check(geometry: Geometry, origin: Origin, labels: LabelTable | None) -> None:
    """Any scan's mask fits into NRRD."""


def write(labelmap: LabelMap, path: Path, source: object = None) -> tuple[str, ...]:
    """Write a mask on its scan's grid; equal masks give equal bytes.

    Raises:
        BadLabels: a voxel is negative.
        BadOutput: the file cannot be written or its name does not end in ``.nrrd``.
    """
    require_ending(path, ENDING)
    dtype = mask_dtype(labelmap).newbyteorder("<")
    voxels = labelmap.data.astype(dtype).tobytes(order="F")
    with atomic_file(path) as file:
        file.write(header(labelmap, dtype.name).encode("ascii") + b"\n")
        file.write(igzip.compress(voxels, 2, mtime=0))
    return ()


def header(labelmap: LabelMap, kind: str) -> str:
    """The fields of a mask's header, without the blank line that ends it."""
    geometry = labelmap.geometry
    steps = [_vector(geometry.affine[:3, axis] * LPS_SIGNS) for axis in range(3)]
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
        f"space origin: {_vector(geometry.affine[:3, 3] * LPS_SIGNS)}",
    ]
    return "\n".join(lines) + "\n"


def _vector(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str:
    """Every digit that a float64 has; no negative zero."""
    return "(" + ",".join(repr(float(value) + 0.0) for value in values) + ")"
