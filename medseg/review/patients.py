"""Which new cases belong to one patient, and to which of a cohort: by DICOM's PatientID.

The id itself stays in memory; a patient that the cohort does not know is called by a hash of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from medseg.errors import MedsegError
from medseg.manifests import Case, Cohort, Split
from medseg.readers.entry import Status
from medseg.scans import discover
from medseg.scans.found import FoundScan


def patient_keys(cohort: Cohort, rows: Sequence[Case]) -> dict[str, str]:
    """Case -> patient, for rows whose scans say who it is.

    Somebody whom the cohort has under two names is the one of the test part.

    Args:
        cohort: whose rows may know the same people.
        rows: new ones.
    """
    scans = _Scans()
    found = {row.case: scans.identity(row) for row in rows}
    if not any(found.values()):
        return {}
    known: dict[str, str] = {}
    for case in sorted(cohort.cases, key=lambda case: case.split is not Split.TEST):
        if key := scans.identity(case):
            known.setdefault(key, case.patient)
    return {case: known.get(key, f"patient-{key[:12]}") for case, key in found.items() if key}


class _Scans:
    """What lies in the places of rows, each looked at once."""

    def __init__(self) -> None:
        self._usable: dict[Path, list[FoundScan]] = {}

    def identity(self, row: Case) -> str:
        """A hash of the PatientID of a row's DICOM scan; empty where there is none."""
        if not row.sources:
            return ""
        place, series = row.sources[0], row.case
        if not place.exists() and "#" in place.name:
            name, _, series = place.name.rpartition("#")
            place = place.with_name(name)
        if not place.exists() or _is_volume_file(place):
            return ""
        scans = self._in(place)
        own = [one for one in scans if one.content.described and one.is_series(series)] or scans
        ids = {one.content.identifiers().get("patient_id", "") for one in own}
        if len(ids) != 1 or not (patient := ids.pop()):
            return ""
        return hashlib.sha256(patient.encode()).hexdigest()

    def _in(self, place: Path) -> list[FoundScan]:
        if place not in self._usable:
            try:
                found = discover(place)
            except MedsegError:
                found = []
            self._usable[place] = [one for one in found if one.status is Status.USABLE]
        return self._usable[place]


def _is_volume_file(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith((".nii", ".nii.gz", ".nrrd", ".mha"))
