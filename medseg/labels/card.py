"""A label table as a card spells it: ``labels``, ``ignore``, ``regions``, ``mirror_pairs``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from medseg.errors import BadLabels
from medseg.labels.label import Label, Region, integer, label_from_card, plain_name
from medseg.labels.sides import sides_of

#: Beginnings of names that cards and viewers give to what is no structure.
_BACKGROUND = re.compile(
    r"(back ?gr\w*|bg|bckgr|air|outside|exterior|outer|empty|void|none|nothing|unlabell?ed|unknown"
    r"|unsegmented|clear|other|rest|no|non|not|normal|healthy|label 0|class 0|0)\b"
)

#: Labels, ignore value, regions and mirror pairs.
Parts: TypeAlias = tuple[
    tuple[Label, ...], int | None, tuple[Region, ...], tuple[tuple[str, str], ...]
]


def read_card(card: Mapping[str, Any]) -> Parts:
    """The parts of a label table.

    Raises:
        BadLabels: the mapping does not describe labels.
    """
    entries = card.get("labels")
    if not isinstance(entries, Mapping):
        raise BadLabels(
            "labels must map names to values",
            found=entries,
            expected="for example {liver: 1, spleen: 2}",
        )
    entries = {name: entry for name, entry in entries.items() if not _is_background(name, entry)}
    sides = sides_of([str(name) for name in entries])
    labels = [
        label_from_card(str(name), entry, position, side)
        for position, ((name, entry), side) in enumerate(zip(entries.items(), sides, strict=True))
    ]
    regions = tuple(
        _region(str(name), values) for name, values in (card.get("regions") or {}).items()
    )
    pairs = tuple(_pair(names) for names in card.get("mirror_pairs") or ())
    ignore = card.get("ignore")
    return (
        tuple(labels),
        None if ignore is None else integer(ignore, "ignore"),
        regions,
        pairs,
    )


def card_of(
    labels: Sequence[Label],
    ignore: int | None,
    regions: Sequence[Region],
    mirror_pairs: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    """The long form that :func:`read_card` reads back, plain YAML values."""
    entries: dict[str, dict[str, Any]] = {}
    for label in labels:
        entry: dict[str, Any] = {"value": label.value, "colour": label.colour}
        if label.code:
            entry["code"] = list(label.code)
        entry["side"] = label.side.value
        if label.aliases:
            entry["aliases"] = list(label.aliases)
        entries[label.name] = entry
    card: dict[str, Any] = {"labels": entries}
    if ignore is not None:
        card["ignore"] = ignore
    if regions:
        card["regions"] = {region.name: list(region.values) for region in regions}
    if mirror_pairs:
        card["mirror_pairs"] = [list(pair) for pair in mirror_pairs]
    return card


def _is_background(name: object, entry: object) -> bool:
    """Whether an entry names the background, which has no label.

    Raises:
        BadLabels: it gives the background's value to what is called something else.
    """
    value = entry.get("value") if isinstance(entry, Mapping) else entry
    if isinstance(value, bool) or value != 0:
        return False
    if not _BACKGROUND.match(plain_name(str(name))):
        raise BadLabels(
            f"label {str(name)!r} has the value 0, which is background in every mask",
            found=0,
            expected="a value of 1 or more",
            remedy="Give the value that its voxels have in the masks; background needs no name.",
        )
    return True


def _region(name: str, values: Any) -> Region:
    if not isinstance(values, list | tuple):
        raise BadLabels(f"region {name!r} is no list of label values", found=repr(values))
    return Region(name, tuple(integer(value, name) for value in values))


def _pair(names: Any) -> tuple[str, str]:
    if not isinstance(names, list | tuple) or len(names) != 2:
        raise BadLabels("a mirror pair is not two names", found=repr(names))
    return str(names[0]), str(names[1])
