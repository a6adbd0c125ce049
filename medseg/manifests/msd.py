"""How does a task of the Medical Segmentation Decathlon become a cohort?  By its dataset.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from medseg.config import Options
from medseg.errors import BadCohort
from medseg.labels import LabelTable
from medseg.manifests.cohort import Case, Cohort
from medseg.manifests.importing import modality_of, new_case, read_json, stem


class MsdOptions(Options):
    """What to take.

    Attributes:
        unlabelled: ``keep`` lists the challenge's test scans, which have no mask, as test rows.
    """

    unlabelled: Literal["skip", "keep"] = "skip"


def build(folder: Path, options: MsdOptions) -> Cohort:
    """A cohort from a folder such as ``Task04_Hippocampus``.

    The decathlon gives no patient ids: every case counts as a patient, and the card says so.
    Scans of several channels are one file with a fourth dimension.

    Raises:
        BadCohort: no dataset.json, or files that it lists are missing.
    """
    card = read_json(folder / "dataset.json")
    channels = tuple(
        str(name)
        for _, name in sorted(
            card.get("modality", {"0": "image"}).items(), key=lambda item: int(item[0])
        )
    )
    cases = [_case(folder, entry, channels) for entry in card.get("training", [])]
    if options.unlabelled == "keep":
        cases += [_case(folder, {"image": image}, channels) for image in card.get("test", [])]
    _check(folder, cases)
    return Cohort(
        name=str(card.get("name") or folder.name),
        modality=modality_of(channels),
        channels=channels,
        labels=_labels(folder, card),
        cases=tuple(cases),
        root=folder,
        source=f"Medical Segmentation Decathlon, {folder.name}. {card.get('description', '')}",
        licence=str(card.get("licence") or card.get("license") or ""),
        citation="doi:10.1038/s41467-022-30695-9",
        notes="The data set gives no patient ids: every case counts as a patient of its own, "
        "though two may be scans of one person.",
    )


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


def _case(folder: Path, entry: dict[str, str], channels: tuple[str, ...]) -> Case:
    image = folder / entry["image"]
    label = folder / entry["label"] if "label" in entry else None
    return new_case(stem(image.name) or image.name, dict.fromkeys(channels, image), label)


def _check(folder: Path, cases: list[Case]) -> None:
    if not cases:
        raise BadCohort("lists no training cases", path=folder / "dataset.json")
    files = {path for case in cases for path in (*case.sources, case.label) if path}
    missing = sorted(path for path in files if not path.exists())
    if missing:
        raise BadCohort(
            "listed, but not there",
            path=missing[0],
            found=f"{len(missing)} of {len(files)} files missing",
            remedy="Complete the download.",
        )
