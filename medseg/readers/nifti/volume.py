"""A NIfTI file (1 or 2, plain, gzip or a pair) becomes a Volume."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from medseg.errors import BadScan
from medseg.readers.bytes import first_bytes, open_bytes, read_array
from medseg.readers.entry import Endings, Glimpse
from medseg.readers.grid import choose_volume, grid_warnings
from medseg.readers.nifti.forms import MissingForm, read_forms, read_geometry
from medseg.readers.nifti.header import HEADER_BYTES, NiftiHeader, is_nifti, parse_header
from medseg.readers.values import NonFinite, finite_values
from medseg.volume import Origin, Volume

#: A file that breaks the promise of its name is refused, not passed over.
ENDINGS = Endings(
    whole=(".nii", ".nii.gz"),
    headers=(".hdr", ".hdr.gz"),
    voxels={".img": (".hdr", ".hdr.gz"), ".img.gz": (".hdr", ".hdr.gz")},
)

#: Form code -> space; codes 2 and 5 say "that of some other file".
_SPACES = {1: "scanner", 3: "talairach", 4: "mni152"}


def recognises(path: Path) -> bool:
    """Whether the file is NIfTI by content, or claims to be by the name ``.nii[.gz]``.

    The ``.img`` of a pair is recognised by the header beside it.
    """
    if path.name.lower().endswith(ENDINGS.whole):
        return True
    return is_nifti(first_bytes(_header_path(path), HEADER_BYTES))


def glimpse(path: Path) -> Glimpse:
    """What the header promises, from its first bytes."""
    header = parse_header(first_bytes(path, HEADER_BYTES), path)
    geometry, _ = read_geometry(header, path, missing_form=MissingForm.REFUSE)
    return Glimpse(geometry, header.volumes)


def read(
    path: Path,
    *,
    volume: int | None = None,
    missing_form: MissingForm = MissingForm.REFUSE,
    nonfinite: NonFinite = NonFinite.SMALLEST,
) -> Volume:
    """Read one 3D volume on its own grid, with both forms kept for the mask.

    Stored integers stay as they are, with slope and intercept beside them; float64 becomes
    float32.

    Args:
        path: ``.nii``, ``.nii.gz``, or either file of a ``.hdr``/``.img`` pair; plain or gzip
            is recognised by content.
        volume: which volume of a file that holds several, from 0.
        missing_form: what to do where neither sform nor qform is set.
        nonfinite: what becomes of NaN and infinite voxels; they are counted in a warning.

    Raises:
        BadScan: damaged, ambiguous, or not NIfTI.
        NotAVolume: colours, complex numbers or one dimension only.
    """
    header = _read_header(path)
    geometry, warnings = read_geometry(header, path, missing_form=missing_form)
    data = _read_voxels(header, path, volume)
    data, value_warnings = finite_values(
        data, header.slope, header.intercept, path=path, nonfinite=nonfinite
    )
    forms = read_forms(header)
    origin = Origin(
        path=str(path),
        forms=forms,
        case=ENDINGS.stem(path.name) or path.stem,
        warnings=warnings + value_warnings + grid_warnings(geometry),
        frame=_SPACES.get(forms.sform_code or forms.qform_code, ""),
    )
    return Volume(data[None], geometry, header.slope, header.intercept, origin=origin)


def _read_header(path: Path) -> NiftiHeader:
    with open_bytes(_header_path(path)) as stream:
        head = stream.read(HEADER_BYTES)
    return parse_header(head, path)


def _header_path(path: Path) -> Path:
    """The header beside an ``.img``; else the file itself."""
    return _beside(path, ".img", ".hdr") or path


def _voxel_path(header: NiftiHeader, path: Path) -> Path:
    """The file that holds the voxels: the ``.img`` of a pair."""
    if header.single:
        return _header_path(path)
    if _header_path(path) != path:
        return path
    image = _beside(path, ".hdr", ".img")
    if image is None:
        raise BadScan(
            "the header of a .hdr/.img pair, but its .img file is missing",
            path=path,
            remedy="Keep both files together.",
        )
    return image


def _beside(path: Path, ending: str, other: str) -> Path | None:
    """The file of the same name with the other ending, plain or gzip, where there is one."""
    for own in (ending, ending + ".gz"):
        if path.name.lower().endswith(own):
            stem = path.name[: -len(own)]
            names = (stem + other, stem + other.upper(), stem + other + ".gz")
            return next((path.with_name(n) for n in names if path.with_name(n).is_file()), None)
    return None


def _read_voxels(header: NiftiHeader, path: Path, volume: int | None) -> NDArray[Any]:
    chosen = choose_volume(header.volumes, volume, path)
    source = _voxel_path(header, path)
    size = header.dtype.itemsize * math.prod(header.shape)
    with open_bytes(source) as stream:
        return read_array(
            stream,
            source,
            offset=header.offset,
            skip=chosen * size,
            shape=header.shape,
            dtype=header.dtype,
            behind=(header.volumes - 1 - chosen) * size,
        )
