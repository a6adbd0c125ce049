"""A BIDS data set becomes a cohort: its subjects, sessions, and masks among derivatives."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from medseg.config import Options
from medseg.errors import BadCohort
from medseg.files import read_bytes
from medseg.labels import LabelTable, plain_name
from medseg.manifests.bids_masks import MaskChoice, choose_mask, entity, stem_of, with_words
from medseg.manifests.cohort import Case, Cohort
from medseg.manifests.imported import listed
from medseg.manifests.importing import modality_of, new_case, read_description
from medseg.manifests.mask_labels import labels_in
from medseg.manifests.table import COLUMNS

#: Suffixes of masks; only some are looked for unasked, all are named where no case has them.
_MASKS = ("dseg", "mask", "probseg", "roi", "seg")


class BidsOptions(Options):
    """Which files of a session to take.

    Attributes:
        channels: suffixes of the scans, such as ``T1w`` and ``FLAIR``.
        mask: suffix of the masks, such as ``dseg``, ``mask`` or ``roi``; ``auto`` takes ``dseg``
            where the data set has it, else ``mask``.
        only: words that a scan's file name must hold, such as ``acq-iso``.
        mask_only: the same for masks, such as ``desc-expert`` or ``label-lesion``.
        labels: name -> value; else a ``*_dseg.tsv``, else the entity ``label-``, else the values
            that the masks hold.
    """

    channels: tuple[str, ...] = Field(default=("T1w",), min_length=1)
    mask: str = Field(default="auto", min_length=1)
    only: tuple[str, ...] = ()
    mask_only: tuple[str, ...] = ()
    labels: dict[str, Any] = Field(default_factory=dict)


def build(folder: Path, options: BidsOptions) -> Cohort:
    """A cohort from a raw BIDS data set; masks from it and from ``derivatives``.

    Subjects are the patients, and ``participants.tsv`` gives covariates. Sessions without all
    channels are left out, and the remarks say how many.

    Raises:
        BadCohort: no subject has the scans, a session has several and nothing says which, or
            there are masks and none of them fits.
    """
    described = folder / "dataset_description.json"
    about = read_description(described) if described.exists() else {}
    people = _participants(folder / "participants.tsv")
    choice = _choice(folder, options)
    cases, incomplete = [], []
    for session in _sessions(folder):
        files = {c: _scan(session, folder, c, options.only) for c in options.channels}
        scans = {channel: path for channel, path in files.items() if path is not None}
        name = "_".join(session)
        if len(scans) < len(options.channels):
            incomplete.append(name)
            continue
        own = list(scans.values())
        mask = choose_mask(_files(session, folder, derived=True), choice, own)
        covariates = people.get(session[0], {})
        cases.append(new_case(name, scans, mask, patient=session[0], covariates=covariates))
    if not cases:
        raise BadCohort(
            "no subject has all channels",
            path=folder,
            found=_suffixes(folder),
            expected=f"sub-*/anat/*_{options.channels[0]}.nii.gz",
            remedy="Give them, for example channels=[T2w].",
        )
    unused = _unused_masks(folder, cases)
    if not any(case.label for case in cases):
        _refuse_without_masks(folder, choice, unused)
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
        remarks=(*_left_out(incomplete, options.channels), *_unused(unused)),
    )


def _sessions(folder: Path) -> list[tuple[str, ...]]:
    """``(sub-01, ses-1)``, or ``(sub-01,)`` where there are no sessions."""
    sessions: list[tuple[str, ...]] = []
    for subject in sorted(path for path in folder.glob("sub-*") if path.is_dir()):
        names = sorted(path.name for path in subject.glob("ses-*") if path.is_dir())
        sessions += [(subject.name, name) for name in names] or [(subject.name,)]
    return sessions


def _files(session: tuple[str, ...], folder: Path, *, derived: bool = False) -> list[Path]:
    """The session's images, those of derivatives too where they are wanted."""
    places = [folder.joinpath(*session)]
    if derived:
        derivatives = folder / "derivatives"
        places += [path / session[0] for path in (derivatives, *sorted(derivatives.glob("*")))]
    start = "_".join(session)
    return sorted(
        path
        for place in places
        if place.is_dir()
        for path in place.rglob("*")
        if stem_of(path).startswith(f"{start}_")
    )


def _every_file(folder: Path) -> Iterator[Path]:
    """The images of all sessions, derivatives among them."""
    for session in _sessions(folder):
        yield from _files(session, folder, derived=True)


def _scan(
    session: tuple[str, ...], folder: Path, channel: str, words: tuple[str, ...]
) -> Path | None:
    """The session's scan of that suffix; ``None`` where there is none."""
    files = [path for path in _files(session, folder) if stem_of(path).endswith(f"_{channel}")]
    scans = with_words(files, words)
    if len(scans) > 1:
        raise BadCohort(
            f"several files end in _{channel}",
            path=scans[0].parent,
            found=", ".join(path.name for path in scans[:4]),
            remedy="Give words of the one you want, for example only=[acq-iso].",
        )
    return scans[0] if scans else None


def _choice(folder: Path, options: BidsOptions) -> MaskChoice:
    suffix = options.mask
    if suffix == "auto":
        suffix = "dseg" if any(_suffix(path) == "dseg" for path in _every_file(folder)) else "mask"
    return MaskChoice(suffix, options.mask_only, tuple(options.labels))


def _suffix(path: Path) -> str:
    return stem_of(path).rpartition("_")[2]


def _suffixes(folder: Path) -> str | None:
    """What the sessions' files end in, with counts."""
    counts = Counter(f"_{_suffix(path)}" for path in _every_file(folder))
    return ", ".join(f"{name} ({count})" for name, count in counts.most_common(8)) or None


def _unused_masks(folder: Path, cases: list[Case]) -> list[Path]:
    """Files anywhere below that end as masks do and are no case's scan or mask."""
    used = {path for case in cases for path in (*case.sources, case.label)}
    files = (path for path in sorted(folder.rglob("*")) if path not in used)
    return [path for path in files if _suffix(path) in _MASKS and path.is_file()]


def _refuse_without_masks(folder: Path, choice: MaskChoice, masks: list[Path]) -> None:
    """No case has a mask: right where none lies there, and a mistake where some do."""
    if masks:
        raise BadCohort(
            f"no mask fits among {len(masks)}",
            path=masks[0],
            found=f"masks of another session, run or space, elsewhere than in {folder.name}/"
            "derivatives/PIPELINE/sub-*, or of another suffix",
            expected=choice.describe(),
            remedy="Give mask=dseg, mask=mask or mask=roi, and words of the ones you want:"
            " mask_only=[…].",
        )


def _unused(masks: list[Path]) -> tuple[str, ...]:
    if not masks:
        return ()
    return (f"{len(masks)} other masks are no case's: {listed([path.name for path in masks])}",)


def _participants(path: Path) -> dict[str, dict[str, str]]:
    """Subject -> covariates; ``n/a`` is empty."""
    if not path.exists():
        return {}
    return {
        row["participant_id"]: {
            (f"participant_{name}" if name.partition(":")[0] in COLUMNS else name): ""
            if value == "n/a"
            else value
            for name, value in row.items()
            if name != "participant_id"
        }
        for row in _tab_separated(path)
        if row.get("participant_id")
    }


def _tab_separated(path: Path) -> list[dict[str, str]]:
    """The rows of a table as BIDS writes it; cells that a row lacks are empty."""
    try:
        text = read_bytes(path).decode("utf-8-sig", "replace")
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t", restval=""))
    except (OSError, csv.Error) as error:
        raise BadCohort("not a table of tab-separated values", path=path, found=error) from None
    return [{name: (cell or "").strip() for name, cell in row.items() if name} for row in rows]


def _labels(folder: Path, options: BidsOptions, cases: list[Case]) -> LabelTable:
    if options.labels:
        return LabelTable.from_card({"labels": options.labels})
    masks = [case.label for case in cases if case.label is not None]
    named = {entity(mask, "label") for mask in masks}
    if len(named) == 1 and (name := named.pop()):
        labels = labels_in(masks)
        one = len(labels.values) == 1
        return LabelTable.from_card({"labels": {name: labels.values[0]}}) if one else labels
    tables = sorted(
        {path for mask in masks for path in mask.parent.glob("*dseg.tsv")}
        | set(folder.glob("*dseg.tsv"))
        | set(folder.glob("derivatives/*/*dseg.tsv"))
        | set(folder.glob("derivatives/*dseg.tsv"))
    )
    if not tables:
        return labels_in(masks)
    names: dict[int, str] = {}
    for path in tables:
        for value, name in _names_by_index(path).items():
            if plain_name(names.setdefault(value, name)) != plain_name(name):
                raise BadCohort(
                    f"two tables of labels name the value {value} differently",
                    path=path,
                    found=f"{name!r} and {names[value]!r}",
                    remedy="Give the masks of both the same values.",
                )
    return LabelTable.from_card({"labels": {name: value for value, name in names.items()}})


def _names_by_index(path: Path) -> dict[int, str]:
    """Value to name of a BIDS table of labels; 0 is background."""
    try:
        named = {int(row["index"]): row["name"] for row in _tab_separated(path)}
    except (KeyError, ValueError, TypeError):
        raise BadCohort(
            "not a table of labels", path=path, expected="columns index and name"
        ) from None
    return {value: name for value, name in named.items() if value != 0}


def _left_out(incomplete: list[str], channels: tuple[str, ...]) -> tuple[str, ...]:
    if not incomplete:
        return ()
    first = ", ".join(incomplete[:3]) + (" …" if len(incomplete) > 3 else "")
    return (f"{len(incomplete)} sessions lack one of {', '.join(channels)}: left out ({first}).",)
