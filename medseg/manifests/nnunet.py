"""How does an nnU-Net raw data set become a cohort?  By its dataset.json and file names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from medseg.config import Options
from medseg.errors import BadCohort
from medseg.labels import LabelTable
from medseg.manifests.cohort import Case, Cohort, Split
from medseg.manifests.importing import modality_of, new_case, read_json, scans_in


class NnunetOptions(Options):
    """What to take.

    Attributes:
        unlabelled: ``keep`` lists the scans of ``imagesTs`` without a mask as test rows.
    """

    unlabelled: Literal["skip", "keep"] = "skip"


def build(folder: Path, options: NnunetOptions) -> Cohort:
    """A cohort from a folder such as ``Dataset004_Hippocampus`` (raw data, version 1 or 2).

    A ``splits_final.json`` in the folder gives the folds. The format gives no patient ids:
    every case counts as a patient, and the card says so.

    Raises:
        BadCohort: no dataset.json, or labels or images are missing.
    """
    card = read_json(folder / "dataset.json")
    names = card.get("channel_names") or card.get("modality") or {"0": "image"}
    channels = tuple(str(names[key]) for key in sorted(names, key=int))
    ending = str(card.get("file_ending", ".nii.gz"))
    cases = _cases(folder, "Tr", ending, channels, options)
    if (folder / "imagesTs").is_dir():
        cases += _cases(folder, "Ts", ending, channels, options)
    return Cohort(
        name=str(card.get("name") or folder.name),
        modality=modality_of(channels),
        channels=channels,
        labels=labels_of(card, folder / "dataset.json"),
        cases=tuple(_with_folds(cases, folder / "splits_final.json")),
        root=folder,
        source=str(card.get("reference") or card.get("description") or folder.name),
        licence=str(card.get("licence") or card.get("license") or ""),
        citation=str(card.get("citation") or ""),
        notes="The format gives no patient ids: every case counts as a patient of its own. "
        "Where patients came twice, give their rows one id and divide anew.",
    )


def labels_of(card: Mapping[str, Any], path: Path) -> LabelTable:
    """Plain labels, an ignored value, or regions with the values that are painted for them.

    Raises:
        BadCohort: the labels are neither.
    """
    entries = card.get("labels")
    if not isinstance(entries, Mapping) or not entries:
        raise BadCohort("no labels", path=path, expected='{"background": 0, "liver": 1}')
    if all(str(key).isdigit() for key in entries):  # version 1 wrote value -> name
        entries = {name: int(value) for value, name in entries.items()}
    known = {
        str(name): value for name, value in entries.items() if name not in ("background", "ignore")
    }
    ignore = entries.get("ignore")
    if not any(isinstance(value, list) for value in known.values()):
        return LabelTable.from_card({"labels": known, "ignore": ignore})
    regions = {name: value if isinstance(value, list) else [value] for name, value in known.items()}
    values = sorted({int(value) for members in regions.values() for value in members} - {0})
    return LabelTable.from_card(
        {
            "labels": {f"value {value}": value for value in values},
            "ignore": ignore,
            "regions": _in_order(regions, card.get("regions_class_order") or []),
        }
    )


def _in_order(regions: dict[str, list[int]], painted: list[int]) -> dict[str, list[int]]:
    """Widest first where painting needs it: nnU-Net's order is that of the regions listed."""
    if len(painted) == len(regions):
        return regions
    return dict(sorted(regions.items(), key=lambda item: -len(item[1])))


def _cases(
    folder: Path, part: str, ending: str, channels: tuple[str, ...], options: NnunetOptions
) -> list[Case]:
    images = scans_in(folder / f"images{part}", [ending])
    held = folder / f"labels{part}"
    labels = scans_in(held, [ending]) if held.is_dir() or part == "Tr" else {}
    names = sorted({name.rpartition("_")[0] for name in images} | set(labels))
    cases = []
    for name in names:
        found = {c: images.get(f"{name}_{k:04d}") for k, c in enumerate(channels)}
        lacking = [channel for channel, path in found.items() if path is None]
        if lacking:
            raise BadCohort(
                f"case {name!r} lacks channel {lacking[0]!r}",
                path=folder / f"images{part}",
                expected=f"{name}_{channels.index(lacking[0]):04d}{ending}",
            )
        if name not in labels and options.unlabelled == "skip":
            continue
        files = {channel: path for channel, path in found.items() if path is not None}
        split = Split.TEST if part == "Ts" else None
        cases.append(new_case(name, files, labels.get(name), split=split))
    if not cases and part == "Tr":
        raise BadCohort("no labelled cases", path=held, expected=f"masks ending in {ending}")
    return cases


def _with_folds(cases: list[Case], path: Path) -> list[Case]:
    if not path.exists():
        return cases
    try:
        folds = {
            str(name): k
            for k, fold in enumerate(json.loads(path.read_text(encoding="utf-8")))
            for name in fold["val"]
        }
    except (ValueError, KeyError, TypeError) as error:
        raise BadCohort(
            "the folds cannot be read",
            path=path,
            found=error,
            expected='[{"train": […], "val": […]}, …]',
        ) from None
    train = [case for case in cases if case.split is Split.TRAIN]
    if any(case.case not in folds for case in train):
        return cases  # folds of some cases only are no folds
    return [
        replace(case, fold=folds[case.case]) if case.split is Split.TRAIN else case
        for case in cases
    ]
