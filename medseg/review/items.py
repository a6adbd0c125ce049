"""The cases of a review: which masks there are, where their scans and truths lie, worst first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from medseg.batch import ledger as ledgers
from medseg.batch.entry import Entry
from medseg.batch.shards import merged_entries, shards_in
from medseg.batch.suspicion import suspicion
from medseg.batch.tables import LABELS
from medseg.batch.task import PLACES, Flag, State
from medseg.config import load_yaml
from medseg.errors import BadLabels, BadOutput, BadScan
from medseg.evaluation.folders import is_truth, labels_beside, truth_cohort
from medseg.evaluation.matching import core_name, match_names
from medseg.evaluation.pairing import ENDINGS, RUN_FILE, mask_files, mask_name
from medseg.evaluation.scores import MEAN, SCORES_FILE, read_scores
from medseg.labels import LabelTable
from medseg.manifests import Case, Cohort
from medseg.volume import LabelMap

#: Volumes stand out where their logarithm is this many robust standard deviations from the
#: median of the cases, of at least so many.
OUTLYING_SD, ENOUGH_CASES = 3.5, 8


@dataclass(frozen=True)
class Truth:
    """The row of a cohort that says what is right.

    Attributes:
        cohort: with this case alone.
        case: the row.
    """

    cohort: Cohort
    case: Case

    def named(self, truth: LabelMap, labels: LabelTable) -> LabelMap:
        """The true mask under the values of other masks; what it ignores keeps its value.

        Raises:
            BadLabels: the tables do not agree.
        """
        if labels.ignore is None:
            labels = replace(labels, ignore=self.cohort.labels.ignore)
        return truth.named(labels)


@dataclass(frozen=True)
class Item:
    """One mask to look at.

    Attributes:
        case: its name, unique.
        mask: the file.
        place: of the scan, as the ledger or a match of names has it; empty where unknown.
        source: the scan's name within the place, for archives.
        row: of the cohort's card, where there is one; its scan is then the row's.
        flags: reasons to look at it.
        suspicion: the sum of how rare they are, in bits.
        confidence: the lowest of its labels, 0-1, or ``None``.
        volumes_ml: by label; empty where nobody measured yet.
        dice: mean over labels, where the truth is known and scored.
        group: what the cases are grouped by, or empty.
        before: the earlier case of the same patient, or empty.
    """

    case: str
    mask: Path
    place: str = ""
    source: str = ""
    row: Truth | None = None
    flags: tuple[Flag, ...] = ()
    suspicion: float = 0.0
    confidence: float | None = None
    volumes_ml: Mapping[str, float] = field(default_factory=dict)
    dice: float | None = None
    group: str = ""
    before: str = ""

    @property
    def has_truth(self) -> bool:
        """Whether a true mask is known."""
        return self.row is not None and self.row.case.label is not None


@dataclass(frozen=True)
class Places:
    """What the user named.

    Attributes:
        masks: the folder of masks.
        scans: a folder of scans, where the masks do not say; ``None`` looks beside the masks.
        cohort: whose rows name scans, truths, patients and groups, or ``None``.
        labels: what the values mean, where nothing beside the masks says so.
        scores: case -> mean Dice of an evaluation.
        group: a column of the cohort's table.
    """

    masks: Path
    scans: Path | None = None
    cohort: Cohort | None = None
    labels: LabelTable | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    group: str = ""


def items_of(places: Places) -> tuple[LabelTable, list[Item]]:
    """The label table and the cases, in no particular order; see :func:`ranked`.

    Raises:
        BadOutput: there is no mask.
        BadLabels: nothing says what the values mean.
    """
    folder = places.masks
    entries = entries_of(folder)
    items = _of_ledger(folder, entries) if entries else _of_folder(folder, places)
    if not items:
        raise BadOutput(
            "no masks to review",
            path=folder,
            expected="the --output of medseg segment, or a folder of masks",
        )
    table = labels_of(places)
    return table, [_with_row(item, places) for item in _matched(items, places.cohort)]


def entries_of(folder: Path) -> list[Entry]:
    """What the ledger of a batch knows of a folder, its shards included; empty without one."""
    if shards_in(folder):
        return merged_entries(folder)
    if not (folder / ledgers.NAME).is_file():
        return []
    ledger = ledgers.look(folder)
    try:
        return ledger.entries()
    finally:
        ledger.close()


def run_facts(folder: Path) -> dict[str, object]:
    """What ``run.yaml`` says of the models that made the masks; empty where there is none."""
    path = folder / RUN_FILE
    return dict(load_yaml(path)) if path.is_file() else {}


def labels_of(places: Places) -> LabelTable:
    """What the values of the masks mean.

    Raises:
        BadLabels: nothing says so.
    """
    if places.labels is not None:
        return places.labels
    if (places.masks / LABELS).is_file() or places.cohort is None:
        try:
            return labels_beside(places.masks)
        except BadLabels as error:
            raise BadLabels(
                error.problem,
                path=places.masks,
                expected=error.expected,
                remedy="Give --labels liver=1,tumour=2.",
            ) from None
    return places.cohort.labels


def require_folder(masks: Path) -> Path:
    """The folder of masks, refused where it is something else.

    Raises:
        BadOutput: it is no folder.
    """
    if masks.is_dir():
        return masks
    raise BadOutput(
        "no such folder of masks",
        path=masks,
        expected="the --output of medseg segment or evaluate, or a folder of masks",
    )


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation was made of.

    Attributes:
        masks: the folder of predictions.
        truths: the card, or the folder of true masks.
        root: where the card's paths start, or ``None``.
    """

    masks: Path
    truths: Path
    root: Path | None


def evaluated(folder: Path) -> Evaluated | None:
    """What an evaluation was made of; ``None`` where the folder holds no evaluation.

    Raises:
        BadOutput: it does not say where its masks lie, or they are gone.
    """
    if not (folder / SCORES_FILE).is_file() or mask_files(folder):
        return None
    places = read_scores(folder).about.get("places") or {}
    if (
        not {"predictions", "truths"} <= set(places)
        or not (folder / places["predictions"]).is_dir()
    ):
        raise BadOutput(
            "the evaluation does not say where its masks lie, or they are gone",
            path=folder,
            remedy=f"Name them: medseg review MASKS --truth CARD --evaluation {folder}",
        )
    root = folder / places["root"] if "root" in places else None
    return Evaluated(folder / places["predictions"], folder / places["truths"], root)


def scores_of(evaluation: Path) -> dict[str, float]:
    """Case -> mean Dice over its labels, where it is defined.

    Raises:
        BadOutput: the folder holds no evaluation.
    """
    table = read_scores(evaluation).table
    rows = table[(table["metric"] == "dice") & (table["label"] == MEAN) & table["value"].notna()]
    return {str(case): float(dice) for case, dice in zip(rows["case"], rows["value"], strict=True)}


def ranked(items: Sequence[Item]) -> list[Item]:
    """Worst first: the lowest Dice where the truth is known, then by flags and confidence."""

    def key(item: Item) -> tuple[float, float, float, str]:
        dice = 2.0 if item.dice is None else item.dice
        confidence = 2.0 if item.confidence is None else item.confidence
        return dice, -item.suspicion, confidence, item.case

    return sorted(items, key=key)


def with_volume_flags(items: Sequence[Item]) -> list[Item]:
    """The cases with flags for volumes unlike the others' of the same review.

    A label's volume is compared by its logarithm; one that is 0 where most have some stands out,
    too. Labels that a case was flagged for already get no second flag.
    """
    names = dict.fromkeys(name for item in items for name in item.volumes_ml)
    flags: dict[str, list[Flag]] = {}
    for name in names:
        known = {item.case: item.volumes_ml[name] for item in items if name in item.volumes_ml}
        filled = {case: math.log(ml) for case, ml in known.items() if ml > 0}
        if len(filled) < max(ENOUGH_CASES, len(known) / 2):
            continue
        middle = float(np.median(list(filled.values())))
        apart = [abs(value - middle) for value in filled.values()]
        spread = max(1.4826 * float(np.median(apart)), 0.05)
        for case, ml in known.items():
            if ml <= 0 or abs(filled[case] - middle) > OUTLYING_SD * spread:
                text = f"{name} has {ml:.3g} ml, most cases about {math.exp(middle):.3g} ml"
                flags.setdefault(case, []).append(Flag("volume", name, text))
    return [_flagged(item, flags.get(item.case, []), len(items)) for item in items]


def _flagged(item: Item, flags: Sequence[Flag], count: int) -> Item:
    known = {(flag.kind, flag.label) for flag in item.flags}
    new = [flag for flag in flags if (flag.kind, flag.label) not in known]
    bits = math.log2((count + 2) / 2) if new else 0.0
    return replace(item, flags=(*item.flags, *new), suspicion=item.suspicion + bits * len(new))


def _of_ledger(folder: Path, entries: Sequence[Entry]) -> list[Item]:
    scores = suspicion(entries)
    items = []
    for entry in entries:
        if entry.state is not State.DONE or entry.written is None:
            continue
        mask = folder / entry.written.name
        if mask_name(mask) is None:
            continue
        items.append(
            Item(
                case=entry.case,
                mask=mask,
                place=entry.place,
                source=entry.source,
                flags=entry.flags,
                suspicion=scores[entry.case],
                confidence=min(entry.confidence.values(), default=None),
                volumes_ml=entry.volumes_ml,
            )
        )
    return items


def _of_folder(folder: Path, places: Places) -> list[Item]:
    """Masks without a ledger, each with the scan of its name where one is found."""
    files = mask_files(folder)
    scans = scans_beside(folder, files, places.scans)
    if places.scans is None and places.cohort is None:
        taken = {path for path in scans.values() if path.parent == folder}
        files = {name: path for name, path in files.items() if path not in taken}
    return [
        Item(case=name, mask=path, place=str(scans.get(name, "")))
        for name, path in sorted(files.items())
    ]


#: What folders of scans are called, beside a folder of masks.
_SCAN_FOLDERS = ("images", "imagesTs", "imagesTr", "scans", "image", "imgs")


def scans_beside(
    folder: Path, masks: Mapping[str, Path], scans: Path | None = None
) -> dict[str, Path]:
    """The scan of each mask, by name.

    Looked for in the folder that the user named, else in a folder called ``images`` or alike
    beside the masks, else among the masks: ``case.nii.gz`` beside ``case_seg.nii.gz``.

    Raises:
        BadScan: the folder that was named is none.
    """
    if scans is not None and not scans.is_dir():
        raise BadScan("not a folder of scans", path=scans)
    nearby = [folder.parent / name for name in _SCAN_FOLDERS]
    for place in [scans] if scans is not None else nearby:
        if not place.is_dir() or place == folder:
            continue
        files = _first_channels(place)
        matches = match_names(list(masks), files)
        if matches or scans is not None:
            return {case: files[name] for case, name in matches.items()}
    plain = {name: path for name, path in masks.items() if core_name(name) == name}
    return {
        name: plain[core_name(name)]
        for name in masks
        if core_name(name) != name and core_name(name) in plain
    }


def _first_channels(place: Path) -> dict[str, Path]:
    """Scans of a folder by name; of ``case_0000``, ``case_0001`` … the first."""
    files: dict[str, Path] = {}
    for path in sorted(place.iterdir()):
        ending = next((end for end in ENDINGS if path.name.lower().endswith(end)), None)
        if ending is None or path.name.startswith(".") or not path.is_file():
            continue
        name = path.name[: -len(ending)]
        stem = name[:-5] if name[-5:-4] == "_" and name[-4:].isdigit() else name
        files.setdefault(stem, path)
    return files


def _matched(items: Sequence[Item], cohort: Cohort | None) -> list[Item]:
    """The cases with their rows of the cohort, by name."""
    if cohort is None:
        return list(items)
    rows = {case.case: case for case in cohort.cases}
    matches = match_names(list(rows), [item.case for item in items])
    row_of = {name: rows[case] for case, name in matches.items()}
    earlier = _earlier(cohort)
    name_of = matches
    return [
        replace(
            item,
            row=Truth(cohort.with_cases((row,)), row),
            before=name_of.get(earlier.get(row.case, ""), ""),
        )
        if (row := row_of.get(item.case)) is not None
        else item
        for item in items
    ]


def _earlier(cohort: Cohort) -> dict[str, str]:
    """Case -> the case before it of the same patient, in the order of the table."""
    last: dict[str, str] = {}
    earlier = {}
    for case in cohort.cases:
        if case.patient in last:
            earlier[case.case] = last[case.patient]
        last[case.patient] = case.case
    return earlier


def _with_row(item: Item, places: Places) -> Item:
    row = item.row
    group = row.case.covariates.get(places.group, "") if row is not None and places.group else ""
    name = row.case.case if row is not None else item.case
    return replace(item, group=group, dice=places.scores.get(name, places.scores.get(item.case)))


def cohort_of(place: Path, labels: LabelTable | None, root: Path | None) -> Cohort:
    """The cohort of a card, or true masks as one.

    Raises:
        MedsegError: neither can be read.
    """
    from medseg.manifests import load_cohort

    return truth_cohort(place, labels) if is_truth(place) else load_cohort(place, root=root)


def scan_exists(item: Item) -> bool:
    """Whether there is a scan to show."""
    return bool(item.place) or (item.row is not None and bool(item.row.case.images))


def first_place(place: str) -> Path:
    """The first path of a place as ledgers write it."""
    return Path(place.split(PLACES)[0])
