"""Names of cases in output files: unique, safe as file names, without identifiers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from medseg.names import safe_name
from medseg.readers import stem
from medseg.scans.found import FoundScan


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
    """The same names, numbered where one occurs again; empty ones stay empty."""
    taken: set[str] = set()
    return [_unique(case, taken) for case in cases]


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
