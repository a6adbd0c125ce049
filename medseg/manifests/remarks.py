"""Says what readers accepted of a cohort's files: each remark once, with its cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from medseg.volume import LabelMap, Volume, is_blank

#: Cases named in one remark.
_MOST_NAMED = 6


def scan_remarks(scan: Volume) -> tuple[str, ...]:
    """What the scan's reader accepted, and whether there is anything to see."""
    blank = ("the scan is blank: all voxels have one value",) if is_blank(scan) else ()
    return (*scan.origin.warnings, *blank)


def mask_remarks(mask: LabelMap, of_scan: Sequence[str] = ()) -> tuple[str, ...]:
    """What the mask's reader accepted, but what the scan's reader said already."""
    return tuple(f"the mask: {text}" for text in mask.origin.warnings if text not in of_scan)


def remarks_by_text(remarks: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Each remark with the cases it is about, for one line in place of one a case.

    >>> remarks_by_text({"a": ["one slice"], "b": ["one slice", "3 NaN"]})
    {'a, b: one slice': ['a', 'b'], 'b: 3 NaN': ['b']}

    Args:
        remarks: by case.
    """
    cases: dict[str, list[str]] = {}
    for case, texts in remarks.items():
        for text in dict.fromkeys(texts):
            cases.setdefault(text, []).append(case)
    return {f"{some_names(names, _MOST_NAMED)}: {text}": names for text, names in cases.items()}


def some_names(names: Sequence[str], most: int = 20) -> str:
    """The first names, and how many more there are.

    >>> some_names(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
