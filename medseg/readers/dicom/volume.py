"""Turns a DICOM file or series into a Volume."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import numpy as np

from medseg.errors import BadScan, NotAVolume
from medseg.readers.dicom.file import FileHeader
from medseg.readers.dicom.header import look_at, looks_like_dicom
from medseg.readers.dicom.pixels import read_voxels
from medseg.readers.dicom.series import Finding, findings
from medseg.readers.dicom.stacks import Candidate
from medseg.readers.entry import Endings, Glimpse, Status
from medseg.readers.sources import SourceSequence, file_source
from medseg.readers.values import NonFinite, finite_values
from medseg.volume import Origin, Volume

#: Most files of a PACS have no ending at all.
ENDINGS = Endings(whole=(".dcm", ".dicom", ".ima"))

_HEAD_BYTES = 256
_CASE_CHARACTERS = 13


def recognises(path: Path) -> bool:
    """Whether the file is DICOM by content, with or without the 128-byte preamble."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError:
        return False
    return looks_like_dicom(head)


def glimpse(path: Path) -> Glimpse:
    """What one file by itself promises; a series is looked at by `medseg.scans`."""
    finding = _finding(path)
    if finding.status != Status.USABLE:
        refused = finding.status == Status.REFUSED
        return Glimpse(
            volumes=max(1, len(finding.candidates)),
            problem=finding.reason if refused else "",
            skip="" if refused else finding.reason,
        )
    return Glimpse(finding.candidates[0].geometry)


def read(
    path: Path, *, volume: int | None = None, nonfinite: NonFinite = NonFinite.SMALLEST
) -> Volume:
    """Read one DICOM file by itself: an enhanced multi-frame one, a mosaic, or a single slice.

    Args:
        path: the file.
        volume: which volume, from 0, where it holds several.
        nonfinite: what becomes of NaN and infinite voxels.

    Raises:
        BadScan: damaged, ambiguous, or not DICOM.
        NotAVolume: a DICOM object of another kind.
    """
    finding = _finding(path)
    candidate, number = choose(finding, str(path), volume)
    return read_candidate(candidate, finding, str(path), number=number, nonfinite=nonfinite)


def _finding(path: Path) -> Finding:
    header = look_at(file_source(path, str(path)))
    if header is None:
        raise BadScan("not a DICOM file", path=path)
    return findings([header], str(path))[0]


def choose(finding: Finding, name: str, volume: int | None) -> tuple[Candidate, int]:
    """The volume of a series to read, and its number.

    Raises:
        BadScan: there is none, or there are several and none is chosen.
        NotAVolume: the files hold no volume by their kind.
    """
    if finding.status != Status.USABLE and (volume is None or not finding.candidates):
        kind = BadScan if finding.status == Status.REFUSED else NotAVolume
        raise kind(finding.reason, path=name)
    number = volume or 0
    if not 0 <= number < len(finding.candidates):
        raise BadScan(
            f"there is no volume {number}",
            path=name,
            found=f"{len(finding.candidates)} volumes",
            expected=f"0 to {len(finding.candidates) - 1}",
        )
    candidate = finding.candidates[number]
    if candidate.problem:
        raise BadScan(candidate.problem, path=name)
    return candidate, number


def read_candidate(
    candidate: Candidate,
    finding: Finding,
    name: str,
    *,
    number: int,
    nonfinite: NonFinite = NonFinite.SMALLEST,
) -> Volume:
    """Decode a volume that headers promise.

    Raises:
        BadScan: a slice cannot be decoded.
    """
    if candidate.geometry is None:
        raise BadScan(candidate.problem or "no grid", path=name)
    voxels = read_voxels(candidate, name)
    data, unusual = finite_values(
        voxels.data, voxels.slope, voxels.intercept, path=Path(name), nonfinite=nonfinite
    )
    first = finding.files[0]
    origin = Origin(
        path=name,
        modality=first.modality,
        padding_value=voxels.padding_value,
        warnings=(*candidate.warnings, *notes(finding.files), *voxels.warnings, *unusual),
        case=case_of(first, candidate, number),
        instances=_instances(candidate),
        frame=candidate.planes[0].file.reference,
    )
    return Volume(data[None], candidate.geometry, voxels.slope, voxels.intercept, origin=origin)


def _instances(candidate: Candidate) -> SourceSequence:
    """The files that the volume came from, in slice order."""
    return SourceSequence(tuple(dict.fromkeys(plane.file.source for plane in candidate.planes)))


def notes(files: tuple[FileHeader, ...]) -> tuple[str, ...]:
    """What the files' own headers make worth telling, once."""
    return tuple(dict.fromkeys(note for file in files for note in file.notes))


def case_of(first: FileHeader, candidate: Candidate | None, number: int) -> str:
    """13 base32 characters from the series' UID, the volume's grid and its number.

    The same for the same series wherever it lies; nobody can turn it back.
    """
    digest = hashlib.blake2b(
        f"{first.study} {first.series} {first.modality}".encode(), digest_size=16
    )
    if not first.series:
        where = first.source.folder if first.frames else first.source.name
        digest.update(where.encode(errors="surrogateescape"))
    if candidate is not None and candidate.geometry is not None:
        grid = candidate.geometry
        digest.update(np.array(grid.shape, "<i8").tobytes())
        digest.update(np.round(grid.affine, 3).astype("<f8").tobytes() + b"\0")
        digest.update(str(number).encode())
    return base64.b32encode(digest.digest()).decode().lower()[:_CASE_CHARACTERS]
