"""DICOM files become series, and each series the scans of its patients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.readers.dicom.classes import is_enhanced
from medseg.readers.dicom.file import FileHeader, hashed
from medseg.readers.dicom.series import Finding, findings
from medseg.readers.dicom.volume import case_of, notes
from medseg.readers.sources import common_folder
from medseg.scans.content import Series
from medseg.scans.found import FoundScan

#: Letters of a study's hash by which a table distinguishes it from others.
_GROUP_CHARACTERS = 13


def series_scans(headers: Sequence[FileHeader], root: Path) -> list[FoundScan]:
    """DICOM files grouped into series; without a UID, the files of a folder count as one.

    The enhanced form of a series often keeps the UID of the classic one: still two series.
    """
    series: dict[tuple[str, str, bool], list[FileHeader]] = {}
    for header in headers:
        uid = header.series
        if not uid:
            uid = f"in {header.source.folder if header.frames else header.source.name}"
        key = header.study, uid, is_enhanced(header.sop_class)
        series.setdefault(key, []).append(header)
    return [scan for files in series.values() for scan in _of_series(files, root)]


def _of_series(files: Sequence[FileHeader], root: Path) -> Iterator[FoundScan]:
    """The scans of one series, of which each patient under its UID has their own."""
    patients = {"": sorted(files, key=lambda header: header.source.name)}
    for what in range(max(len(file.patient) for file in files)):
        patients = {
            key + part: own
            for key, group in patients.items()
            for part, own in _by_patient(group, what).items()
        }
    for patient, own in patients.items():
        if len(patients) > 1:  # nor are they one examination
            own = [replace(file, study=hashed(f"{file.study} {patient}")) for file in own]
        name = common_folder([file.source for file in own])
        for finding in findings(own, name):
            where = common_folder([file.source for file in finding.files])
            yield _found(finding, where, root, patients=len(patients))


def _by_patient(files: Sequence[FileHeader], what: int) -> dict[str, list[FileHeader]]:
    """Files by one thing that says whose they are; together where it was forgotten in some.

    An anonymiser's slip in every single slice, or in a name of one, makes no patients either.
    """
    parts: dict[str, list[FileHeader]] = {}
    for file in files:
        parts.setdefault("".join(file.patient[what : what + 1]), []).append(file)
    sizes = sorted(sum(max(1, len(file.frames)) for file in part) for part in parts.values())
    slips = (sizes[-1] == 1 and len(sizes) > 2) or (what > 0 and max(sizes[:-1], default=0) == 1)
    if len(parts) == 1 or slips or (len(parts) == 2 and "" in parts):
        return {"": list(files)}
    return parts


def _found(finding: Finding, name: str, root: Path, *, patients: int) -> FoundScan:
    first = finding.files[0]
    single = finding.candidates[0] if len(finding.candidates) == 1 else None
    warnings = notes(finding.files)
    if patients > 1:
        warnings += (
            f"{patients} patients share this SeriesInstanceUID; each is a scan of its own",
        )
    if len({patient_id for file in finding.files for patient_id in file.patient[:1]} - {""}) > 1:
        warnings += ("PatientID is another in every slice; they are taken together",)
    if not first.series and first.frames and len(finding.files) > 1:
        warnings += ("no SeriesInstanceUID: the files of one folder were taken together",)
    return FoundScan(
        case=case_of(first, single, 0),
        source=name,
        status=finding.status,
        reason=finding.reason,
        modality=first.modality,
        files=len(finding.files),
        warnings=warnings + (single.warnings if single else ()),
        geometry=single.geometry if single else None,
        volumes=max(1, len(finding.candidates)),
        path=root,
        content=Series(finding),
        group=first.study[:_GROUP_CHARACTERS],
    )
