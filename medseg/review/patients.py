"""Which new cases belong to one patient, and to which of a cohort: by DICOM's PatientID.

The id itself stays in memory; a patient that the cohort does not know is called by a hash of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from medseg.errors import MedsegError
from medseg.manifests import Cohort
from medseg.readers.entry import Status
from medseg.review.items import Item, first_place
from medseg.scans import discover


def patient_keys(cohort: Cohort, items: Sequence[Item]) -> dict[str, str]:
    """Case -> patient, for cases whose scans say who it is.

    Args:
        cohort: whose rows may know the same people.
        items: new cases.
    """
    found = {item.case: identity(first_place(item.place), item.case) for item in items}
    if not any(found.values()):
        return {}
    known: dict[str, str] = {}
    for case in cohort.cases:
        key = identity(case.sources[0], case.case) if case.sources else ""
        if key:
            known.setdefault(key, case.patient)
    return {case: known.get(key, f"patient-{key[:12]}") for case, key in found.items() if key}


def identity(path: Path, case: str) -> str:
    """A hash of the PatientID of a DICOM scan; empty where there is none."""
    place = path
    if not place.exists() and "#" in path.name:
        place = path.with_name(path.name.rpartition("#")[0])
    if not place.exists() or _is_volume_file(place):
        return ""
    try:
        scans = [one for one in discover(place) if one.status is Status.USABLE]
    except MedsegError:
        return ""
    own = [one for one in scans if one.content.described and one.is_series(case)] or scans
    ids = {one.content.identifiers().get("patient_id", "") for one in own}
    if len(ids) != 1 or not (name := ids.pop()):
        return ""
    return hashlib.sha256(name.encode()).hexdigest()


def _is_volume_file(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith((".nii", ".nii.gz", ".nrrd", ".mha"))
