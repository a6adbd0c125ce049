"""An NRRD or MetaImage file becomes a Volume, sheared grids included."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from medseg.errors import BadScan
from medseg.readers.bytes import open_bytes, read_array
from medseg.readers.entry import Endings, Glimpse
from medseg.readers.grid import choose_volume, grid_warnings, scan_geometry
from medseg.readers.itk import metaimage, nrrd
from medseg.readers.itk.header import ItkHeader
from medseg.readers.values import NonFinite, finite_values
from medseg.volume import Origin, Volume

ENDINGS = Endings(
    whole=(".nrrd", ".mha"),
    headers=(".nhdr", ".mhd"),
    voxels={".raw": (".mhd", ".nhdr"), ".raw.gz": (".nhdr",), ".zraw": (".mhd",)},
)


def recognises(path: Path) -> bool:
    """Whether the file is NRRD or MetaImage by content, or claims to be by its name."""
    if path.name.lower().endswith(ENDINGS.named):
        return True
    return _first(path).startswith((nrrd.MAGIC, *metaimage.STARTS))


def glimpse(path: Path) -> Glimpse:
    """What the header promises."""
    header = _parse(path)
    return Glimpse(scan_geometry(header.shape, header.affine, path), header.volumes)


def read(
    path: Path, *, volume: int | None = None, nonfinite: NonFinite = NonFinite.SMALLEST
) -> Volume:
    """Read one 3D volume on its own grid; a detached header may point into its folder only.

    Args:
        path: ``.nrrd``, ``.nhdr``, ``.mha`` or ``.mhd``; distinguished by content.
        volume: which volume of a file that holds several, from 0.
        nonfinite: what becomes of NaN and infinite voxels; they are counted in a warning.

    Raises:
        BadScan: damaged, without geometry, ambiguous, or neither format.
        NotAVolume: several components a voxel, or not 3D.
    """
    header = _parse(path)
    geometry = scan_geometry(header.shape, header.affine, path)
    data, warnings = finite_values(
        _voxels(header, path, volume), 1.0, 0.0, path=path, nonfinite=nonfinite
    )
    origin = Origin(
        path=str(path),
        case=ENDINGS.stem(path.name) or path.stem,
        warnings=warnings + grid_warnings(geometry),
    )
    return Volume(data[None], geometry, origin=origin)


def _parse(path: Path) -> ItkHeader:
    try:
        head = _first(path)
        if head.startswith(nrrd.MAGIC):
            return nrrd.parse(path)
        if head.startswith(metaimage.STARTS) or (path.suffix.lower() in (".mha", ".mhd") and head):
            return metaimage.parse(path)
    except OSError as error:
        raise BadScan("the file cannot be read", path=path, found=error.strerror or error) from None
    raise BadScan(
        "neither NRRD nor MetaImage, whatever its name says: its format is not recognised",
        path=path,
    )


def _first(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(16)
    except OSError:
        return b""


def _voxels(header: ItkHeader, path: Path, volume: int | None) -> NDArray[Any]:
    chosen = choose_volume(header.volumes, volume, path)
    size = header.dtype.itemsize * math.prod(header.shape)
    start = header.start
    if start is None:
        start = header.voxels.stat().st_size - size * header.volumes
        if start < 0:
            raise BadScan("the file is truncated: fewer data than the header promises", path=path)
    shared = header.voxels != path and bool(start or header.skip)
    with open_bytes(header.voxels, start=start, packing=header.packing) as stream:
        first = stream.tell()
        return read_array(
            stream,
            header.voxels,
            offset=first + header.skip,
            skip=chosen * size,
            shape=header.shape,
            dtype=header.dtype,
            behind=None if shared else (header.volumes - 1 - chosen) * size,
        )
