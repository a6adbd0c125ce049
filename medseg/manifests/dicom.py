"""A DICOM archive becomes a cohort: a row a usable series, SEG and RTSTRUCT by their references."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from medseg.config import Options
from medseg.errors import BadCohort, BadScan
from medseg.labels import LabelTable
from medseg.manifests.cohort import Case, Cohort
from medseg.manifests.importing import new_case, scans_in
from medseg.manifests.mask_labels import labels_in
from medseg.readers.dicom.structures import names, references
from medseg.readers.entry import Status
from medseg.scans import FoundScan, discover
from medseg.scans.masks import mask_file, member_name


class DicomOptions(Options):
    """What to take.

    Attributes:
        masks: folder of masks called after the case, as ``medseg convert`` names its scans;
            where not given, DICOM SEG and RTSTRUCT objects of the archive are the masks of the
            series that they refer to.
        labels: name -> value, or the long form with ``aliases``; what the masks hold where not
            given.
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
    everything = discover(folder)
    scans = [scan for scan in everything if scan.content.described and scan.status == Status.USABLE]
    if options.modality:
        scans = [scan for scan in scans if scan.modality == options.modality]
    modalities = sorted({scan.modality for scan in scans})
    if len(modalities) != 1:
        raise BadCohort(
            "no usable DICOM series" if not scans else "series of several modalities",
            path=folder,
            found=", ".join(modalities) or None,
            remedy="Choose with modality=CT." if scans else "Try `medseg convert`.",
        )
    folder_of_masks = Path(options.masks) if options.masks else None
    masks, remarks = (
        (scans_in(folder_of_masks), ()) if folder_of_masks else paired(scans, everything)
    )
    return Cohort(
        name=folder.resolve().name,
        modality=modalities[0],
        channels=(modalities[0],),
        labels=_labels(masks, options, by_reference=folder_of_masks is None),
        cases=_cases(folder, scans, masks),
        root=folder,
        notes="Patients are numbered in the order in which they were found."
        + ("" if masks else " No masks were found: name the labels before training."),
        remarks=remarks,
    )


def paired(
    scans: Sequence[FoundScan], everything: Sequence[FoundScan]
) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Case -> SEG or RTSTRUCT, by the objects and series that the files say they refer to.

    Returns:
        The pairs, and a remark for each object that has no place or is one of several.
    """
    owners = {key: scan.case for scan in scans for key in scan.content.references()}
    candidates: dict[str, list[Path]] = {}
    remarks, strays = [], 0
    for scan in everything:
        if scan.modality not in ("SEG", "RTSTRUCT"):
            continue
        sources = scan.content.sources
        for number, source in enumerate(sources, start=1):
            path = Path(source.path)
            if source.member:
                name = member_name(scan.case, number, len(sources))
                path = path.with_name(f"{path.name}#{name}")
            try:
                with mask_file(path) as file:
                    cases = {owners[key] for key in references(file) if key in owners}
            except BadScan as error:
                remarks.append(f"{source.name}: {error.problem}")
                continue
            if len(cases) == 1:
                candidates.setdefault(cases.pop(), []).append(path)
            elif cases:
                remarks.append(f"{source.name}: refers to several series, and is not used")
            else:
                strays += 1
    if strays:
        remarks.append(f"{strays} SEG or RTSTRUCT refer to no series that was taken")
    for case, paths in candidates.items():
        if len(paths) > 1:
            remarks.append(f"{case}: {len(paths)} SEG or RTSTRUCT refer to it: none is used")
    pairs = {case: paths[0] for case, paths in candidates.items() if len(paths) == 1}
    return pairs, tuple(remarks)


def _labels(masks: dict[str, Path], options: DicomOptions, *, by_reference: bool) -> LabelTable:
    if options.labels or not masks:
        return LabelTable.from_card({"labels": options.labels or {"structure": 1}})
    if not by_reference:
        return labels_in(masks.values())
    called: dict[str, None] = {}
    for path in masks.values():
        with mask_file(path) as file:
            called |= dict.fromkeys(names(file))
    return LabelTable.from_card({"labels": {name: n for n, name in enumerate(called, start=1)}})


def _cases(folder: Path, scans: list[FoundScan], masks: dict[str, Path]) -> tuple[Case, ...]:
    numbers: dict[str, str] = {}
    below = Counter(place for scan in scans for place in _upwards(scan.source))
    cases = []
    for scan in scans:
        identity = scan.content.identifiers()["patient_id"] or f"unknown {scan.case}"
        patient = numbers.setdefault(identity, f"P{len(numbers) + 1:04d}")
        alone = below[scan.source] == 1
        image = folder / scan.source if alone else folder / f"{scan.source or '.'}#{scan.case}"
        if (first := scan.content.sources[0]).member:
            image = Path(f"{first.path}#{scan.case}")
        cases.append(
            new_case(scan.case, {scan.modality: image}, masks.get(scan.case), patient=patient)
        )
    return tuple(cases)


def _upwards(source: str) -> list[str]:
    """A place and every folder above it, within the archive."""
    parts = source.split("/")
    return ["", *("/".join(parts[:n]) for n in range(1, len(parts) + 1) if source)]
