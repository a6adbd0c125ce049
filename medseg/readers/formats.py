"""Which file formats can be read, and which one is a file of?"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

from medseg.errors import BadScan, MedsegError, NotAVolume
from medseg.geometry import Geometry
from medseg.readers.values import NonFinite
from medseg.volume import Volume

#: Format -> module with ``recognises(path)`` and ``read(path, *, volume, nonfinite)``; the first
#: that recognises a file reads it. Imported when used: nibabel and pydicom take their time.
READERS: dict[str, str] = {
    "nifti": "medseg.readers.nifti",
    "dicom": "medseg.readers.dicom",
    "itk": "medseg.readers.itk",
}

_ENDINGS = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
#: Voxels that belong to a header beside them.
_COMPANIONS = {
    ".img": (".hdr", ".HDR", ".hdr.gz"),
    ".img.gz": (".hdr", ".hdr.gz"),
    ".raw": (".mhd", ".nhdr"),
    ".raw.gz": (".nhdr",),
    ".zraw": (".mhd",),
}


@dataclass(frozen=True)
class Glimpse:
    """What a file's header promises."""

    geometry: Geometry | None = None
    volumes: int = 1
    problem: str = ""
    skip: str = ""


def read(
    path: str | Path,
    *,
    volume: int | None = None,
    nonfinite: NonFinite = NonFinite.SMALLEST,
) -> Volume:
    """Read one file of any format.

    Args:
        path: the file.
        volume: which volume, from 0, where it holds several.
        nonfinite: what becomes of NaN and infinite voxels.

    Raises:
        BadScan: the format is unknown, or the file damaged or ambiguous.
        NotAVolume: it holds no volume.
    """
    path = Path(path)
    reader = _reader(path, list(READERS))
    if reader is None:
        raise BadScan(
            "not recognised: no image format that can be read",
            path=path,
            expected="DICOM, NIfTI, NRRD or MetaImage",
        )
    scan: Volume = reader.read(path, volume=volume, nonfinite=nonfinite)
    return scan


def _reader(path: Path, names: list[str]) -> ModuleType | None:
    modules = (import_module(READERS[name]) for name in names)
    return next((module for module in modules if module.recognises(path)), None)


def claims(name: str) -> bool:
    """Whether a file's name promises an image format other than DICOM."""
    return name.lower().endswith(_ENDINGS)


def is_other_image(path: Path) -> bool:
    """Whether a file is an image of a format other than DICOM, by content or name."""
    return _reader(path, [name for name in READERS if name != "dicom"]) is not None


def is_companion(path: Path) -> bool:
    """Whether a file holds the voxels of a header beside it."""
    for ending, heads in _COMPANIONS.items():
        if path.name.lower().endswith(ending):
            stem = path.name[: -len(ending)]
            return any(path.with_name(stem + head).is_file() for head in heads)
    return False


def stem(name: str) -> str:
    """A file's name without folders and ending."""
    last = name.rsplit("/", 1)[-1]
    for ending in sorted((*_ENDINGS, *_COMPANIONS), key=len, reverse=True):
        if last.lower().endswith(ending) and len(last) > len(ending):
            return last[: -len(ending)]
    return last


def glimpse(path: Path) -> Glimpse:
    """What the header of a file that is not DICOM promises."""
    from medseg.readers import itk, metaimage, nifti_forms, nifti_header, nrrd
    from medseg.readers.grid import scan_geometry
    from medseg.readers.rawdata import first_bytes

    try:
        if itk.recognises(path):
            parse = nrrd.parse if first_bytes(path, 16).startswith(nrrd.MAGIC) else metaimage.parse
            itk_header = parse(path)
            return Glimpse(
                scan_geometry(itk_header.shape, itk_header.affine, path), itk_header.volumes
            )
        header = nifti_header.parse_header(first_bytes(path, nifti_header.HEADER_BYTES), path)
        geometry, _ = nifti_forms.read_geometry(
            header, path, missing_form=nifti_forms.MissingForm.REFUSE
        )
        return Glimpse(geometry, header.volumes)
    except NotAVolume as error:
        return Glimpse(skip=error.problem)
    except MedsegError as error:
        return Glimpse(
            problem=f"{error.problem}; found {error.found}" if error.found else error.problem
        )
    except Exception as error:  # noqa: BLE001 - a fault of ours costs this file, not the search
        return Glimpse(problem=f"the header could not be read ({type(error).__name__})")
