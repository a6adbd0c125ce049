"""Formats that SimpleITK knows: MINC is read; GIPL, VTK and TIFF name what they lack.

Only MINC says where its voxels lie in a patient. The others are recognised, so that their refusal
can say what to do, and so that nobody takes an assumed direction for a known one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadScan, NotAVolume
from medseg.geometry import Geometry
from medseg.readers.child import in_child
from medseg.readers.entry import Endings, Glimpse
from medseg.readers.grid import choose_volume, grid_warnings, scan_geometry
from medseg.readers.itk.header import affine_from
from medseg.readers.limits import refuse_expansion
from medseg.readers.values import NonFinite, finite_values
from medseg.volume import Origin, Volume

ENDINGS = Endings(whole=(".mnc", ".mnc2", ".gipl", ".gipl.gz", ".vtk", ".tif", ".tiff"))

_MINC = (".mnc", ".mnc2")
_REMEDY = "Convert it to NIfTI or NRRD with a program that knows its grid."


def recognises(path: Path) -> bool:
    """Whether the file's name claims one of the formats."""
    return path.name.lower().endswith(ENDINGS.whole)


def glimpse(path: Path) -> Glimpse:
    """What the header promises."""
    _refuse_without_grid(path)
    return Glimpse(in_child(path, _promised))


def read(
    path: Path, *, volume: int | None = None, nonfinite: NonFinite = NonFinite.SMALLEST
) -> Volume:
    """Read one 3D volume on its own grid.

    Args:
        path: a MINC 2 file; the other formats are refused.
        volume: 0, if given.
        nonfinite: what becomes of NaN and infinite voxels; they are counted in a warning.

    Raises:
        BadScan: damaged, or of a format that says too little of its grid.
        NotAVolume: pictures, surfaces, or several components a voxel.
    """
    _refuse_without_grid(path)
    choose_volume(1, volume, path)
    data, geometry = in_child(path, _stored)
    data = np.array(data, np.float32 if data.dtype == np.float64 else data.dtype, order="F")
    data, warnings = finite_values(data, 1.0, 0.0, path=path, nonfinite=nonfinite)
    origin = Origin(
        path=str(path),
        case=ENDINGS.stem(path.name) or path.stem,
        warnings=warnings + grid_warnings(geometry),
    )
    return Volume(data[None], geometry, origin=origin)


def _promised(path: Path) -> Geometry:
    return _geometry(_header(path), path)


def _stored(path: Path) -> tuple[NDArray[Any], Geometry]:
    """(X, Y, Z) voxels and their grid."""
    import SimpleITK

    header = _header(path)
    geometry = _geometry(header, path)
    try:
        return SimpleITK.GetArrayFromImage(header.Execute()).T, geometry
    except RuntimeError as error:
        raise _damaged(path, error) from None


def _header(path: Path) -> Any:
    """SimpleITK's reader of the file, its header read."""
    import SimpleITK

    SimpleITK.ProcessObject.GlobalWarningDisplayOff()
    header = SimpleITK.ImageFileReader()
    header.SetImageIO("MINCImageIO")
    header.SetFileName(str(path))
    try:
        header.ReadImageInformation()
    except RuntimeError as error:
        raise _damaged(path, error) from None
    components, dimension = header.GetNumberOfComponents(), header.GetDimension()
    if components != 1 or dimension != 3:
        raise NotAVolume(
            "not one value per voxel in three dimensions",
            path=path,
            found=f"{components} components, {dimension} dimensions",
        )
    return header


def _refuse_without_grid(path: Path) -> None:
    """Refuse the formats that do not place their voxels in a patient."""
    name = path.name.lower()
    if name.endswith(_MINC):
        return
    if name.endswith((".tif", ".tiff")):
        raise NotAVolume(
            "a TIFF picture or stack: it says neither where it lies nor how far its slices are "
            "apart",
            path=path,
            remedy=_REMEDY,
        )
    if name.endswith(".vtk") and b"STRUCTURED_POINTS" not in _first(path):
        raise NotAVolume("a VTK file that is no image on a grid", path=path)
    kind = "VTK image" if name.endswith(".vtk") else "GIPL file"
    raise BadScan(f"a {kind}, which does not say left from right", path=path, remedy=_REMEDY)


def _first(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(1024)
    except OSError as error:
        raise BadScan("the file cannot be read", path=path, found=error.strerror) from None


def _geometry(header: Any, path: Path) -> Geometry:
    """The grid. MINC counts in RAS, and SimpleITK hands its numbers on as they are."""
    import SimpleITK

    size = header.GetSize()
    each = SimpleITK.Image([1, 1, 1], header.GetPixelID()).GetSizeOfPixelComponent()
    unpacked = each * int(np.prod(size, dtype=object))
    refuse_expansion(path, packed=path.stat().st_size, unpacked=unpacked)
    steps = np.array(header.GetDirection()).reshape(3, 3) * np.array(header.GetSpacing())
    return scan_geometry(size, affine_from(steps, np.array(header.GetOrigin())), path)


def _damaged(path: Path, error: Exception) -> BadScan:
    return BadScan(
        "damaged, or no MINC 2 file",
        path=path,
        found=str(error).strip().splitlines()[-1][-120:],
        remedy="MINC 1 files become MINC 2 by mincconvert -2.",
    )
