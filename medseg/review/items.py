"""The cases of a review: which masks there are, where their scans and truths lie, worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from medseg.batch.entry import Entry
from medseg.batch.shards import entries_of
from medseg.batch.suspicion import suspicion
from medseg.batch.tables import LABELS
from medseg.batch.task import PLACES, Flag, State
from medseg.errors import BadLabels, BadOutput
from medseg.evaluation.folders import is_truth, labels_beside, truth_cohort
from medseg.evaluation.matching import match_names
from medseg.evaluation.pairing import mask_files, mask_name
from medseg.labels import LabelTable
from medseg.manifests import Case, Cohort
from medseg.review.beside import scans_beside
from medseg.volume import LabelMap


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
        confidence: of its least sure labels, 0-1, or ``None``.
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


def labels_of(places: Places) -> LabelTable:
    """What the values of the masks mean.

    Raises:
        BadLabels: nothing says so.
    """
    if places.labels is not None:
        return places.labels
    if (places.masks / LABELS).is_file() or places.cohort is None:
        try:
            return labels_beside(places.masks, mask_files(places.masks).values())
        except BadLabels as error:
            raise BadLabels(
                error.problem,
                path=places.masks,
                expected=error.expected,
                remedy="Say it in labels.yaml beside the masks, or, to `medseg review`, with"
                " --labels liver=1,tumour=2.",
            ) from None
    return places.cohort.labels


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
                confidence=entry.case_confidence,
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


def first_place(place: str) -> Path:
    """The first path of a place as ledgers write it."""
    return Path(place.split(PLACES)[0])
