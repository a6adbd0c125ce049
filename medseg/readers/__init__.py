"""One file of any format becomes a Volume, and a mask file a LabelMap.

A reader is a module with ``ENDINGS``, ``recognises``, ``glimpse`` and ``read`` (see
:class:`~medseg.readers.entry.Reader`), listed in `READERS`. Where scans lie in folders and
archives is the business of `medseg.scans`.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import cast

from medseg.errors import BadScan, MedsegError, NotAVolume
from medseg.readers.entry import Endings, Glimpse, Reader
from medseg.readers.sources import file_source
from medseg.readers.values import NonFinite
from medseg.volume import Volume

__all__ = [
    "READERS",
    "Endings",
    "Glimpse",
    "NonFinite",
    "claims",
    "glimpse",
    "image_endings",
    "is_companion",
    "is_other_image",
    "promises_dicom",
    "read",
    "stem",
    "unpackable_ending",
]

#: Format -> module; the first that recognises a file reads it. Imported when used: decoders take
#: their time to load.
READERS: dict[str, str] = {
    "nifti": "medseg.readers.nifti.volume",
    "dicom": "medseg.readers.dicom.volume",
    "itk": "medseg.readers.itk.volume",
    "others": "medseg.readers.itk.others",
}

_DICOM = "dicom"


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
    file_source(path)  # neither missing nor a pipe, which would wait for ever
    reader = _reader_of(path, tuple(READERS))
    if reader is None:
        raise BadScan(
            "not recognised: no image format that can be read",
            path=path,
            expected="DICOM, NIfTI, NRRD, MetaImage or MINC",
        )
    return reader.read(path, volume=volume, nonfinite=nonfinite)


def glimpse(path: Path) -> Glimpse:
    """What the header of a file that is not DICOM promises, or what is wrong with it."""
    reader = _reader_of(path, _others())
    try:
        return Glimpse(problem="not recognised") if reader is None else reader.glimpse(path)
    except NotAVolume as error:
        return Glimpse(skip=error.problem)
    except MedsegError as error:
        return Glimpse(
            problem=f"{error.problem}; found {error.found}" if error.found else error.problem
        )
    except Exception as error:  # noqa: BLE001 - a fault of ours costs this file, not the search
        return Glimpse(problem=f"the header could not be read ({type(error).__name__})")


def is_other_image(path: Path) -> bool:
    """Whether a file is an image of a format other than DICOM, by content or name."""
    return _reader_of(path, _others()) is not None


def claims(name: str) -> bool:
    """Whether a file's name promises an image format other than DICOM.

    >>> claims("scan.nii.gz"), claims("IM0001"), claims("IM0001.dcm")
    (True, False, False)
    """
    lower = name.lower()
    return any(lower.endswith(endings.named) for endings in image_endings())


def promises_dicom(name: str) -> bool:
    """Whether a file's name promises DICOM."""
    return name.lower().endswith(_endings(_DICOM).named)


def unpackable_ending(name: str) -> str | None:
    """The ending of a name whose file can be read alone, outside its archive."""
    wholes = (end for endings in image_endings() for end in endings.whole)
    fitting = [ending for ending in wholes if name.lower().endswith(ending)]
    return max(fitting, key=len, default=None)


def is_companion(path: Path) -> bool:
    """Whether a file holds the voxels of a header beside it."""
    for endings in image_endings():
        for ending, heads in endings.voxels.items():
            if path.name.lower().endswith(ending):
                name = path.name[: -len(ending)]
                tried = (name + head for end in heads for head in (end, end.upper()))
                if any(path.with_name(head).is_file() for head in tried):
                    return True
    return False


def image_endings() -> tuple[Endings, ...]:
    """How files end, by format; DICOM left out, which is known by content."""
    return tuple(map(_endings, _others()))


def stem(name: str) -> str:
    """A file's name without folders and ending; DICOM files keep theirs.

    >>> stem("study/ct.nii.gz"), stem("study/IM0001.dcm")
    ('ct', 'IM0001.dcm')
    """
    last = name.rsplit("/", 1)[-1]
    stems = (endings.stem(last) for endings in image_endings())
    return min((s for s in stems if s is not None), key=len, default=last)


def _others() -> tuple[str, ...]:
    """Every format but DICOM, which is read by the series."""
    return tuple(name for name in READERS if name != _DICOM)


def _reader_of(path: Path, names: tuple[str, ...]) -> Reader | None:
    return next((reader for reader in map(_module, names) if reader.recognises(path)), None)


def _module(name: str) -> Reader:
    return cast(Reader, import_module(READERS[name]))


@cache
def _endings(name: str) -> Endings:
    return _module(name).ENDINGS
