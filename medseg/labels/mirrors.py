"""The labels that swap in a left-right mirror, or why a scan must not be mirrored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from medseg.labels.label import Label, Region
from medseg.labels.sides import Side, common_words
from medseg.labels.twins import are_twins


def mirror_swaps(
    labels: Sequence[Label], regions: Sequence[Region], named: Iterable[tuple[int, int]]
) -> tuple[tuple[tuple[int, int], ...], str]:
    """Pairs of values to swap; or none, and the reason for people.

    Args:
        labels: of a table.
        regions: of the table; none may hold one side of a pair alone.
        named: values of the pairs that the card names.
    """
    pairs = {(min(pair), max(pair)) for pair in named}
    paired = {value for pair in pairs for value in pair}
    for label in labels:
        if label.value in paired or label.side is Side.NONE:
            continue
        twin = _twin(label, labels)
        if twin is None:
            return (), f"{label.name!r} has a side and no partner to swap with"
        if not are_twins(common_words(label.name, twin.name) or ()):
            return (), (
                f"{label.name!r} and {twin.name!r} are not known to be mirror images of each "
                "other; where they are, name them under mirror_pairs in the card"
            )
        pairs.add((min(label.value, twin.value), max(label.value, twin.value)))
    for region in regions:
        if any((a in region.values) != (b in region.values) for a, b in pairs):
            return (), f"region {region.name!r} holds one side of a pair"
    return tuple(sorted(pairs)), ""


def _twin(label: Label, labels: Sequence[Label]) -> Label | None:
    twins = [
        other
        for other in labels
        if other.side not in (Side.NONE, label.side)
        and common_words(label.name, other.name) is not None
    ]
    return twins[0] if len(twins) == 1 else None
