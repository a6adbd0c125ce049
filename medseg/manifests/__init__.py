"""Which scans belong together and what each may be used for: cards, tables, splits, importers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.config import validate
from medseg.errors import BadCohort, BadConfig
from medseg.manifests import bids, dicom, folders, msd, nnunet
from medseg.manifests.card import load_cohort, write_cohort
from medseg.manifests.check import Problem, check_cohort, examine_cohort, require_files
from medseg.manifests.cohort import Case, Cohort, Split
from medseg.manifests.duplicates import Duplicate, Survey, joined_patients, survey_scans
from medseg.manifests.imported import findings, settled
from medseg.manifests.importing import Importer, with_checksums
from medseg.manifests.reading import read_case, read_truth
from medseg.manifests.split import split_cohort
from medseg.progress import Progress

__all__ = [
    "IMPORTERS",
    "Case",
    "Cohort",
    "Duplicate",
    "Problem",
    "Split",
    "Survey",
    "check_cohort",
    "examine_cohort",
    "findings",
    "import_cohort",
    "joined_patients",
    "load_cohort",
    "read_case",
    "read_truth",
    "require_files",
    "split_cohort",
    "survey_scans",
    "write_cohort",
]

#: Convention -> how a folder that follows it becomes a cohort.
IMPORTERS: dict[str, Importer] = {
    "msd": Importer(
        options=msd.MsdOptions,
        build=msd.build,
        expects="dataset.json, imagesTr/, labelsTr/",
    ),
    "nnunet": Importer(
        options=nnunet.NnunetOptions,
        build=nnunet.build,
        expects="dataset.json, imagesTr/case_0000.nii.gz, labelsTr/case.nii.gz",
    ),
    "bids": Importer(
        options=bids.BidsOptions,
        build=bids.build,
        expects="sub-*/anat/, derivatives/, participants.tsv",
    ),
    "folders": Importer(
        options=folders.FoldersOptions,
        build=folders.build,
        expects="images/ and labels/, a folder a case, or case and case_seg in one folder",
    ),
    "dicom": Importer(
        options=dicom.DicomOptions,
        build=dicom.build,
        expects="any folder with DICOM series",
    ),
}


def import_cohort(
    convention: str,
    folder: str | Path,
    *,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Cohort:
    """A cohort with checksums from a folder that follows a convention.

    Cases with a mask are ``train`` and the others ``test`` unless the convention says otherwise;
    `split_cohort` divides them. `findings` says what the import found.

    Args:
        convention: a name from `IMPORTERS`.
        folder: as the convention expects it.
        options: of the convention; see its options model.
        progress: called as (done, total) while checksums are made.

    Raises:
        BadConfig: no such convention or option.
        BadCohort: the folder does not follow the convention, or none of its files can be read.
    """
    if convention not in IMPORTERS:
        raise BadConfig("no such convention", found=repr(convention), expected=", ".join(IMPORTERS))
    place = Path(folder)
    if not place.is_dir():
        raise BadCohort(
            "not a folder", path=place, expected=f"a folder with {IMPORTERS[convention].expects}"
        )
    importer = IMPORTERS[convention]
    cohort = importer.build(place, validate(importer.options, options or {}))
    return with_checksums(settled(cohort), progress)
