"""Names of cases in output files: unique, safe as file names, and the same next time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from medseg.names import safe_name
from medseg.readers import stem
from medseg.scans.found import FoundScan


@dataclass(frozen=True)
class Named:
    """What an output folder remembers of the scans that it knows.

    Attributes:
        cases: name of each scan's case by the scan's key.
        moved: key of a scan by its identity, for one that lies elsewhere now.
    """

    cases: Mapping[str, str] = field(default_factory=dict)
    moved: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wish:
    """A scan that wants a name.

    Attributes:
        key: the same for the same scan in every run, whatever lies beside it.
        name: the one it would have alone, or as its neighbours of this run leave it.
        identity: of its files, by which it is known again elsewhere.
        is_fixed: the user gave the name, in a cohort's table.
    """

    key: str
    name: str
    identity: str = ""
    is_fixed: bool = False


def name_cases(scans: Sequence[FoundScan]) -> list[FoundScan]:
    """The scans with unique cases: a file's stem, or its relative path where stems repeat."""
    files = [scan for scan in scans if not scan.content.described and scan.case]
    stems = Counter(safe_name(scan.case).casefold() for scan in files)
    cases = []
    for scan in scans:
        case = safe_name(scan.case)
        if not scan.content.described and scan.case and stems[case.casefold()] > 1:
            case = _from_path(scan)
        cases.append(case)
    return [replace(scan, case=case) for scan, case in zip(scans, unique_cases(cases), strict=True)]


def unique_cases(cases: Sequence[str]) -> list[str]:
    """The same names, numbered where one occurs again; empty ones stay empty.

    >>> unique_cases(["ct", "CT", "mr", ""])
    ['ct', 'CT_2', 'mr', '']
    """
    used: set[str] = set()
    return [_unique(case, used) for case in cases]


def stable_names(wishes: Sequence[Wish], known: Named) -> list[str]:
    """A name for each scan: the one that it had before, else one that nobody has.

    A scan that was named once keeps its name, whatever came since; a newcomer never takes the
    name of an older one, be that one found this time or not.
    """
    present = {wish.key for wish in wishes}
    names: dict[int, str] = {}
    for position, wish in enumerate(wishes):
        before = known.moved.get(wish.identity, "")
        key = before if wish.key not in known.cases and before not in present else wish.key
        if wish.is_fixed:
            names[position] = wish.name
        elif wish.name and key in known.cases and known.cases[key] not in names.values():
            names[position] = known.cases[key]
    taken = {name.casefold() for name in (*known.cases.values(), *names.values())}
    for position, wish in enumerate(wishes):
        if position not in names:
            names[position] = _unique(wish.name, taken)
    return unique_cases([names[position] for position in range(len(wishes))])


def _from_path(scan: FoundScan) -> str:
    folder = scan.source.rpartition("/")[0]
    number = "" if scan.volume is None else f"_{scan.volume}"
    return safe_name(
        "_".join(part for part in (*folder.split("/"), stem(scan.source) + number) if part)
    )


def _unique(case: str, taken: set[str]) -> str:
    if not case:
        return case
    unique, number = case, 2
    while unique.casefold() in taken:
        unique, number = f"{case}_{number}", number + 1
    taken.add(unique.casefold())
    return unique
