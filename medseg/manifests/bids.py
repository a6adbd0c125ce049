"""How does a BIDS data set become a cohort?  Subjects, sessions, and masks among derivatives."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from pydantic import Field

from medseg.config import Options
from medseg.errors import BadCohort
from medseg.labels import LabelTable
from medseg.manifests.cohort import Case, Cohort
from medseg.manifests.importing import (
    modality_of,
    new_case,
    numbered_labels,
    read_json,
    stem,
)
from medseg.manifests.table import COLUMNS

NIFTI = (".nii.gz", ".nii")


class BidsOptions(Options):
    """Which files of a session to take.

    Attributes:
        channels: suffixes of the scans, such as ``T1w`` and ``FLAIR``.
        mask: suffix of the masks, ``dseg`` or ``mask``.
        only: words that a scan's file name must hold, such as ``acq-iso``.
        mask_only: the same for masks, such as ``desc-expert``.
        labels: name -> value; else a ``*_dseg.tsv``, else the values that the masks hold.
    """

    channels: tuple[str, ...] = Field(default=("T1w",), min_length=1)
    mask: str = "dseg"
    only: tuple[str, ...] = ()
    mask_only: tuple[str, ...] = ()
    labels: dict[str, Any] = Field(default_factory=dict)


def build(folder: Path, options: BidsOptions) -> Cohort:
    """A cohort from a raw BIDS data set; masks from it and from ``derivatives``.

    Subjects are the patients, and ``participants.tsv`` gives covariates. Sessions without all
    channels are left out.

    Raises:
        BadCohort: no subject has the scans, or a session has several and nothing says which.
    """
    described = folder / "dataset_description.json"
    about = read_json(described) if described.exists() else {}
    people = _participants(folder / "participants.tsv")
    cases = []
    for session in _sessions(folder):
        files = {c: _one(session, folder, f"_{c}", options.only) for c in options.channels}
        found = {channel: path for channel, path in files.items() if path is not None}
        if len(found) == len(options.channels):
            mask = _one(session, folder, f"_{options.mask}", options.mask_only, derived=True)
            cases.append(
                new_case(
                    "_".join(session),
                    found,
                    mask,
                    patient=session[0],
                    covariates=people.get(session[0], {}),
                )
            )
    if not cases:
        raise BadCohort(
            "no subject has all channels",
            path=folder,
            expected=f"sub-*/anat/*_{options.channels[0]}.nii.gz",
            remedy="Say which, for example channels=[T2w].",
        )
    return Cohort(
        name=str(about.get("Name") or folder.resolve().name),
        modality=modality_of(options.channels),
        channels=options.channels,
        labels=_labels(folder, options, cases),
        cases=tuple(cases),
        root=folder,
        source=str(about.get("DatasetDOI") or ""),
        licence=str(about.get("License") or ""),
        citation=str(about.get("HowToAcknowledge") or ""),
    )


def _sessions(folder: Path) -> list[tuple[str, ...]]:
    """``(sub-01, ses-1)``, or ``(sub-01,)`` where there are no sessions."""
    found: list[tuple[str, ...]] = []
    for subject in sorted(folder.glob("sub-*")):
        sessions = sorted(path.name for path in subject.glob("ses-*") if path.is_dir())
        found += [(subject.name, name) for name in sessions] or [(subject.name,)]
    return found


def _one(
    session: tuple[str, ...],
    folder: Path,
    suffix: str,
    words: tuple[str, ...],
    *,
    derived: bool = False,
) -> Path | None:
    """The session's file of that suffix; ``None`` where there is none."""
    places = [folder.joinpath(*session)]
    if derived:
        places += [path.joinpath(*session) for path in sorted((folder / "derivatives").glob("*"))]
        places.append((folder / "derivatives").joinpath(*session))
    found = sorted(
        path
        for place in places
        if place.is_dir()
        for path in place.rglob("*")
        if (name := stem(path.name, NIFTI)) is not None
        and name.endswith(suffix)
        and all(word in name for word in words)
        and name.startswith("_".join(session))
    )
    if len(found) > 1:
        raise BadCohort(
            f"several files end in {suffix}",
            path=found[0].parent,
            found=", ".join(path.name for path in found[:4]),
            remedy="Say words of the wanted one with only=[…] or mask_only=[…].",
        )
    return found[0] if found else None


def _participants(path: Path) -> dict[str, dict[str, str]]:
    """Subject -> covariates; ``n/a`` is empty."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    return {
        row["participant_id"]: {
            (f"participant_{name}" if name.partition(":")[0] in COLUMNS else name): ""
            if value in ("n/a", None)
            else value.strip()
            for name, value in row.items()
            if name and name != "participant_id"
        }
        for row in rows
        if row.get("participant_id")
    }


def _labels(folder: Path, options: BidsOptions, cases: list[Case]) -> LabelTable:
    if options.labels:
        return LabelTable.from_card({"labels": options.labels})
    masks = [case.label for case in cases if case.label is not None]
    tables = sorted(
        {path for mask in masks for path in mask.parent.glob("*dseg.tsv")}
        | set(folder.glob("*dseg.tsv"))
        | set(folder.glob("derivatives/*/*dseg.tsv"))
        | set(folder.glob("derivatives/*dseg.tsv"))
    )
    if not tables:
        return numbered_labels(masks)
    with tables[0].open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    try:
        return LabelTable.from_card({"labels": {row["name"]: int(row["index"]) for row in rows}})
    except (KeyError, ValueError, TypeError):
        raise BadCohort(
            "not a table of labels", path=tables[0], expected="columns index and name"
        ) from None
