"""A task of the Medical Segmentation Decathlon becomes a cohort by its ``dataset.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from medseg.config import Options
from medseg.errors import BadCohort
from medseg.labels import LabelTable
from medseg.manifests.cohort import Case, Cohort, Split
from medseg.manifests.importing import (
    described_channels,
    miscounted,
    modality_of,
    new_case,
    read_description,
    scan_stem,
    scans_in,
)


class MsdOptions(Options):
    """What to take.

    Attributes:
        unlabelled: ``keep`` lists the challenge's test scans, which have no mask, as test rows.
    """

    unlabelled: Literal["skip", "keep"] = "skip"


def build(folder: Path, options: MsdOptions) -> Cohort:
    """A cohort from a folder such as ``Task04_Hippocampus``.

    The decathlon gives no patient ids: every case counts as a patient, and the card says so.
    Scans of several channels are one file with a fourth dimension. Test scans have a mask where
    a folder ``labelsTs`` holds one of their name. What a list ``validation`` names with a mask
    are train rows, too: folds take the place of such a part.

    Raises:
        BadCohort: no dataset.json, or files that it lists are missing.
    """
    card = read_description(folder / "dataset.json")
    channels = described_channels(folder, card, "modality", "channel_names")
    listed = [*_entries(folder, card, "training"), *_validation(folder, card)]
    training = [_case(folder, entry, channels) for entry in listed]
    if not training:
        raise BadCohort("lists no training cases", path=folder / "dataset.json")
    test = [_test_case(folder, entry, channels) for entry in _entries(folder, card, "test")]
    scored = [case for case in test if case.label is not None or options.unlabelled == "keep"]
    _check_files(folder, [*training, *scored])
    return Cohort(
        name=str(card.get("name") or folder.resolve().name),
        modality=modality_of(channels),
        channels=channels,
        labels=_labels(folder, card),
        cases=(*training, *scored),
        root=folder,
        source=f"Medical Segmentation Decathlon, {folder.resolve().name}."
        f" {card.get('description', '')}".rstrip(),
        licence=str(card.get("licence") or card.get("license") or ""),
        citation="doi:10.1038/s41467-022-30695-9",
        notes="The data set gives no patient ids: every case counts as a patient of its own, "
        "though two may be scans of one person.",
        remarks=(
            *_left_out(folder, [*training, *test], len(test) - len(scored)),
            *miscounted(card, len(_entries(folder, card, "training"))),
        ),
    )


def _entries(folder: Path, card: dict[str, Any], part: str) -> list[dict[str, str]]:
    """Each case's files; the published lists of test scans hold bare names."""
    try:
        entries = [one if isinstance(one, dict) else {"image": one} for one in card.get(part) or []]
        keys = [("image", "label") if entry.get("label") else ("image",) for entry in entries]
        return [
            {key: str(entry[key]) for key in present}
            for entry, present in zip(entries, keys, strict=True)
        ]
    except (TypeError, KeyError):
        raise BadCohort(
            f"the list {part!r} is not as expected",
            path=folder / "dataset.json",
            expected='[{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]',
        ) from None


def _validation(folder: Path, card: dict[str, Any]) -> list[dict[str, str]]:
    """What a list ``validation`` names with a mask, and ``training`` does not."""
    known = {(folder / entry["image"]).resolve() for entry in _entries(folder, card, "training")}
    return [
        entry
        for entry in _entries(folder, card, "validation")
        if "label" in entry and (folder / entry["image"]).resolve() not in known
    ]


def _case(folder: Path, entry: dict[str, str], channels: tuple[str, ...]) -> Case:
    image = folder / entry["image"]
    label = folder / entry["label"] if "label" in entry else None
    return new_case(scan_stem(image.name) or image.name, dict.fromkeys(channels, image), label)


def _test_case(folder: Path, entry: dict[str, str], channels: tuple[str, ...]) -> Case:
    beside = folder / "labelsTs" / Path(entry["image"]).name
    files = {**entry, "label": f"labelsTs/{beside.name}"} if beside.is_file() else entry
    case = _case(folder, files, channels)
    return new_case(case.case, dict(case.images), case.label, split=Split.TEST)


def _labels(folder: Path, card: dict[str, Any]) -> LabelTable:
    try:
        entries = {str(name): int(value) for value, name in card["labels"].items()}
    except (KeyError, ValueError, AttributeError):
        raise BadCohort(
            "the labels are not as expected",
            path=folder / "dataset.json",
            found=card.get("labels"),
            expected='{"0": "background", "1": "liver"}',
        ) from None
    return LabelTable.from_card({"labels": entries})


def _check_files(folder: Path, cases: list[Case]) -> None:
    files = {path for case in cases for path in (*case.sources, case.label) if path}
    missing = sorted(path for path in files if not path.exists())
    if missing:
        raise BadCohort(
            "listed, but not there",
            path=missing[0],
            found=f"{len(missing)} of {len(files)} files missing",
            remedy="Complete the download.",
        )


def _left_out(folder: Path, cases: list[Case], skipped: int) -> tuple[str, ...]:
    remarks = []
    if skipped:
        remarks.append(
            f"{skipped} test scans (imagesTs) have no mask and are left out;"
            " unlabelled=keep lists them as test rows."
        )
    known = {path.resolve() for case in cases for path in case.sources}
    for part in ("imagesTr", "imagesTs"):
        there = scans_in(folder / part) if (folder / part).is_dir() else {}
        unlisted = sum(path.resolve() not in known for path in there.values())
        if unlisted:
            remarks.append(f"{unlisted} scans in {part} are not listed in dataset.json: left out.")
    return tuple(remarks)
