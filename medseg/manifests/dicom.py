"""How does a DICOM archive become a cohort?  A row a usable series, patients by number."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import Field

from medseg.config import Options
from medseg.errors import BadCohort
from medseg.labels import LabelTable
from medseg.manifests.cohort import Case, Cohort
from medseg.manifests.importing import labels_in, new_case, scans_in
from medseg.readers.entry import Status
from medseg.scans import FoundScan, discover


class DicomOptions(Options):
    """What to take.

    Attributes:
        masks: folder of masks called after the case, as ``medseg convert`` names its scans.
        labels: name -> value; the values that the masks hold where not given.
        modality: only series of this one; all must be of one modality.
    """

    masks: str = ""
    labels: dict[str, Any] = Field(default_factory=dict)
    modality: str = ""


def build(folder: Path, options: DicomOptions) -> Cohort:
    """A cohort from an archive; case ids are hashes, and patients are numbered as they come.

    Nothing that names a patient is written; series of one PatientID share a number.

    Raises:
        BadCohort: no usable series, or series of several modalities.
    """
    found = [
        scan for scan in discover(folder) if scan.content.described and scan.status == Status.USABLE
    ]
    if options.modality:
        found = [scan for scan in found if scan.modality == options.modality]
    modalities = sorted({scan.modality for scan in found})
    if len(modalities) != 1:
        raise BadCohort(
            "no usable DICOM series" if not found else "series of several modalities",
            path=folder,
            found=", ".join(modalities) or None,
            remedy="Choose with modality=CT." if found else "Try `medseg convert`.",
        )
    held = Path(options.masks) if options.masks else None
    masks = scans_in(held) if held else {}
    table = (
        LabelTable.from_card({"labels": options.labels or {"structure": 1}})
        if (options.labels or not masks)
        else labels_in(masks.values())
    )
    return Cohort(
        name=folder.resolve().name,
        modality=modalities[0],
        channels=(modalities[0],),
        labels=table,
        cases=_cases(folder, found, masks),
        root=folder,
        notes="Patients are numbered in the order in which they were found."
        + ("" if masks else " No masks were given: name the labels before training."),
    )


def _cases(folder: Path, found: list[FoundScan], masks: dict[str, Path]) -> tuple[Case, ...]:
    numbers: dict[str, str] = {}
    below = Counter(place for scan in found for place in _upwards(scan.source))
    cases = []
    for scan in found:
        identity = scan.content.identifiers()["patient_id"] or f"unknown {scan.case}"
        patient = numbers.setdefault(identity, f"P{len(numbers) + 1:04d}")
        alone = below[scan.source] == 1
        image = folder / scan.source if alone else folder / f"{scan.source or '.'}#{scan.case}"
        cases.append(
            new_case(scan.case, {scan.modality: image}, masks.get(scan.case), patient=patient)
        )
    return tuple(cases)


def _upwards(source: str) -> list[str]:
    """A place and every folder above it, within the archive."""
    parts = source.split("/")
    return ["", *("/".join(parts[:n]) for n in range(1, len(parts) + 1) if source)]
