"""An nnU-Net raw data set becomes a cohort by its ``dataset.json`` and its file names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from medseg.config import Options, parse_json
from medseg.errors import BadCohort, BadLabels
from medseg.files import read_text
from medseg.labels import LabelTable
from medseg.manifests.card import painted
from medseg.manifests.cohort import Case, Cohort, Split
from medseg.manifests.importing import (
    described_channels,
    miscounted,
    modality_of,
    new_case,
    read_description,
    scans_in,
)
from medseg.names import safe_name


class NnunetOptions(Options):
    """What to take.

    Attributes:
        unlabelled: ``keep`` lists the scans of ``imagesTs`` without a mask as test rows.
    """

    unlabelled: Literal["skip", "keep"] = "skip"


def build(folder: Path, options: NnunetOptions) -> Cohort:
    """A cohort from a folder such as ``Dataset004_Hippocampus`` (raw data, version 1 or 2).

    The files are those that ``dataset`` in dataset.json lists, else those in ``imagesTr`` and
    ``labelsTr``; ``imagesTs`` and ``labelsTs`` are test rows. A ``splits_final.json`` in the
    folder gives the folds. The format gives no patient ids: every case counts as a patient, and
    the card says so.

    Raises:
        BadCohort: no dataset.json, or labels or images are missing.
    """
    card = read_description(folder / "dataset.json")
    channels = described_channels(folder, card, "channel_names", "modality")
    ending = str(card.get("file_ending", ".nii.gz"))
    training = (
        _listed(folder, card["dataset"], channels)
        if card.get("dataset")
        else _cases(folder, "Tr", ending, channels)
    )
    test = _cases(folder, "Ts", ending, channels) if (folder / "imagesTs").is_dir() else []
    cases = [*training, *test]
    chosen = [case for case in cases if case.label is not None or options.unlabelled == "keep"]
    if not any(case.label is not None for case in training):
        raise BadCohort(
            "no labelled cases", path=folder / "labelsTr", expected=f"masks ending in {ending}"
        )
    return Cohort(
        name=str(card.get("name") or folder.resolve().name),
        modality=modality_of(channels),
        channels=channels,
        labels=labels_of(card, folder / "dataset.json"),
        cases=tuple(_with_folds(chosen, folder / "splits_final.json")),
        root=folder,
        source=str(card.get("reference") or card.get("description") or folder.resolve().name),
        licence=str(card.get("licence") or card.get("license") or ""),
        citation=str(card.get("citation") or ""),
        notes="The format gives no patient ids: every case counts as a patient of its own. "
        "Where patients came twice, give their rows one id and divide again.",
        remarks=(
            *_left_out(cases, len(chosen)),
            *_of_other_channels(folder, ending, cases),
            *miscounted(card, sum(case.label is not None for case in training)),
        ),
    )


def labels_of(card: Mapping[str, Any], path: Path) -> LabelTable:
    """Plain labels, an ignored value, or regions with the values that are painted for them.

    Regions keep their order where a mask can be painted in it, else the widest comes first.

    Raises:
        BadCohort: the labels are neither, or the regions cannot be painted in any order.
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
    table = {"labels": {f"value {value}": value for value in values}, "ignore": ignore}
    labels = painted(LabelTable.from_card({**table, "regions": regions}))
    try:
        _ = labels.channel_values
    except BadLabels as error:
        raise BadCohort(
            error.problem, path=path, found=error.found, expected=error.expected
        ) from None
    return labels


def _cases(folder: Path, part: str, ending: str, channels: tuple[str, ...]) -> list[Case]:
    images = scans_in(folder / f"images{part}", ending)
    masks = folder / f"labels{part}"
    labels = scans_in(masks, ending) if masks.is_dir() or part == "Tr" else {}
    _require_numbers(folder / f"images{part}", images, ending)
    cases = []
    for name in sorted({name.rpartition("_")[0] for name in images} | set(labels)):
        paths = [images.get(f"{name}_{number:04d}") for number in range(len(channels))]
        files = {channel: path for channel, path in zip(channels, paths, strict=True) if path}
        if len(files) < len(channels):
            number = paths.index(None)
            raise BadCohort(
                f"case {name!r} lacks channel {channels[number]!r}",
                path=folder / f"images{part}",
                expected=f"{name}_{number:04d}{ending}",
            )
        split = Split.TEST if part == "Ts" else None
        cases.append(new_case(name, files, labels.get(name), split=split))
    return cases


def _require_numbers(place: Path, images: Mapping[str, Path], ending: str) -> None:
    """Every image's name ends in the number of its channel."""
    bare = [path.name for name, path in images.items() if not re.fullmatch(r".+_\d{4}", name)]
    if bare:
        raise BadCohort(
            "images without the number of a channel",
            path=place,
            found=f"{len(bare)} of {len(images)}, for example {bare[0]}",
            expected=f"case_0000{ending}, 0000 for the first channel",
            remedy="Rename them, or try `medseg cohort import folders`.",
        )


def _listed(folder: Path, dataset: Any, channels: tuple[str, ...]) -> list[Case]:
    """The cases of version 2's list: case -> images, one a channel, and label."""
    cases = []
    try:
        for name, files in dataset.items():
            images = [folder / str(path) for path in files["images"]]
            label = folder / str(files["label"]) if files.get("label") else None
            cases.append(new_case(str(name), dict(zip(channels, images, strict=True)), label))
    except (AttributeError, TypeError, KeyError, ValueError):
        raise BadCohort(
            "the list of files is not as expected",
            path=folder / "dataset.json",
            expected=f'"dataset": {{"case": {{"images": [one for each of the {len(channels)} '
            'channels], "label": …}}}',
        ) from None
    missing = [p for case in cases for p in (*case.sources, case.label) if p and not p.exists()]
    if missing:
        raise BadCohort(
            "listed, but not there", path=missing[0], found=f"{len(missing)} files missing"
        )
    return cases


def _left_out(cases: list[Case], chosen: int) -> tuple[str, ...]:
    skipped = len(cases) - chosen
    if not skipped:
        return ()
    test = sum(c.label is None and c.sources[0].parent.name == "imagesTs" for c in cases)
    return (
        f"{skipped} scans ({test} of imagesTs) have no mask and are left out;"
        " unlabelled=keep lists them as test rows.",
    )


def _of_other_channels(folder: Path, ending: str, cases: Sequence[Case]) -> tuple[str, ...]:
    """Images of the training that are the channel of no case."""
    used = {path.name for case in cases for path in case.sources}
    there = scans_in(folder / "imagesTr", ending) if (folder / "imagesTr").is_dir() else {}
    spare = sorted(path.name for path in there.values() if path.name not in used)
    if not spare:
        return ()
    first = ", ".join(spare[:3]) + (" …" if len(spare) > 3 else "")
    return (f"{len(spare)} files of imagesTr are no case's channel: left out ({first}).",)


def _with_folds(cases: list[Case], path: Path) -> list[Case]:
    if not path.exists():
        return cases
    try:
        folds = {
            safe_name(str(name)): k
            for k, fold in enumerate(parse_json(read_text(path)))
            for name in fold["val"]
        }
    except (OSError, ValueError, LookupError, TypeError) as error:
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
