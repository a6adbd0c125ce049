"""One scan under two patients: what would let a model be scored on what it has learnt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from medseg.errors import MedsegError
from medseg.manifests.cohort import Case, Cohort, Split
from medseg.manifests.likeness import Likeness, likeness, same_scans
from medseg.manifests.reading import read_unaligned
from medseg.manifests.remarks import scan_remarks
from medseg.manifests.slice_marks import slice_marks
from medseg.memory import usable_cores
from medseg.progress import Progress
from medseg.volume import Volume

#: Reading is mostly waiting and unpacking; each thread holds one scan.
_MOST_WORKERS = 4


@dataclass(frozen=True)
class Duplicate:
    """Two cases of different patients that hold one scan.

    Attributes:
        case: the later row.
        other: the earlier one.
    """

    case: Case
    other: Case

    def __str__(self) -> str:
        return (
            f"the same scan as {self.other.case} (patient {self.other.patient},"
            f" {_part(self.other)}) under another patient ({self.case.patient},"
            f" {_part(self.case)}): give both rows one patient, or leave one out"
        )


@dataclass(frozen=True)
class Survey:
    """What reading every scan once showed.

    Attributes:
        duplicates: scans that occur under two patients.
        warnings: case -> what the readers accepted and a person should know of.
        unread: the cases that could not be read.
    """

    duplicates: tuple[Duplicate, ...]
    warnings: Mapping[str, tuple[str, ...]]
    unread: tuple[str, ...]


def survey_scans(cohort: Cohort, *, progress: Progress | None = None) -> Survey:
    """Read every scan, test rows too, and name those that occur under two patients.

    A copy is found however it was saved: see `medseg.manifests.likeness`, which also says what
    it cannot see.

    Args:
        cohort: all its cases are read.
        progress: called as (done, total).
    """
    looks: list[tuple[Case, Likeness]] = []
    warnings: dict[str, tuple[str, ...]] = {}
    unread: list[str] = []
    with ThreadPoolExecutor(min(_MOST_WORKERS, usable_cores())) as pool:
        results = pool.map(lambda case: _look(cohort, case), cohort.cases)
        for done, (case, seen) in enumerate(zip(cohort.cases, results, strict=True), start=1):
            if seen is None:
                unread.append(case.case)
            else:
                looks += [(case, channel) for channel in seen[0]]
                warnings |= {case.case: seen[1]} if seen[1] else {}
            if progress:
                progress(done, len(cohort.cases))
    return Survey(tuple(duplicates_among(cohort.cases, looks)), warnings, tuple(unread))


def likenesses(volume: Volume) -> list[Likeness]:
    """What to recognise each channel of a scan by."""
    return [likeness(channel, volume.geometry) for channel in volume.data]


def cohort_likenesses(volume: Volume) -> list[Likeness]:
    """What to recognise each channel by beside other scans at hand, slice by slice too."""
    return [
        replace(look, slices=slice_marks(channel))
        for look, channel in zip(likenesses(volume), volume.data, strict=True)
    ]


def duplicates_among(
    cases: Sequence[Case], looks: Sequence[tuple[Case, Likeness]]
) -> list[Duplicate]:
    """Pairs of cases of different patients whose files or voxels are the same.

    Args:
        cases: in the order of the table.
        looks: each with the likeness of one of its channels.
    """
    pairs = set(_same_files(cases))
    for one, other in same_scans([look for _, look in looks]):
        pairs.add((looks[one][0].case, looks[other][0].case))
    order = {case.case: number for number, case in enumerate(cases)}
    named = {tuple(sorted(pair, key=order.__getitem__)) for pair in pairs}
    chosen = sorted((order[second], order[first]) for first, second in named)
    return [
        Duplicate(cases[late], cases[early])
        for late, early in chosen
        if cases[late].patient != cases[early].patient
    ]


def joined_patients(cohort: Cohort, duplicates: Iterable[Duplicate]) -> dict[str, str]:
    """Patient -> the first of all patients that share scans with him, for dividing as one."""
    first = {patient: patient for patient in cohort.patients}
    order = {patient: number for number, patient in enumerate(cohort.patients)}
    for duplicate in duplicates:
        one, other = first[duplicate.case.patient], first[duplicate.other.patient]
        kept = min(one, other, key=order.__getitem__)
        first = {p: kept if f in (one, other) else f for p, f in first.items()}
    return first


def _look(cohort: Cohort, case: Case) -> tuple[list[Likeness], tuple[str, ...]] | None:
    try:
        scan = read_unaligned(cohort, case)
    except MedsegError:
        return None
    return cohort_likenesses(scan), scan_remarks(scan)


def _same_files(cases: Sequence[Case]) -> Iterator[tuple[str, str]]:
    """Rows with one path or one checksum."""
    holders: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        for channel, path in case.images.items():
            holders[case.image_sha256.get(channel) or str(path)].append(case.case)
    for names in holders.values():
        distinct = list(dict.fromkeys(names))
        yield from ((distinct[0], other) for other in distinct[1:])


def _part(case: Case) -> str:
    fold = "" if case.split is not Split.TRAIN or case.fold is None else f", fold {case.fold}"
    return f"{case.split.value}{fold}"
