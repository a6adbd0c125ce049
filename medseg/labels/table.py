"""The meaning of a mask's integers: labels of a cohort or model, regions, mirror pairs."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadLabels
from medseg.labels.card import card_of, read_card
from medseg.labels.label import Label, Region, is_generic, plain_name
from medseg.labels.mirrors import mirror_swaps

#: The largest integer that masks hold.
_MOST_VALUE = 65535

#: Voxels looked at in one go.
_VOXELS = 1 << 22


@dataclass(frozen=True)
class LabelTable:
    """The labels of a cohort or model; background is 0 and has no entry.

    Attributes:
        labels: in order of value.
        ignore: value whose voxels are neither trained nor scored, or ``None``.
        regions: predicted instead of the labels when not empty, painted in this order.
        mirror_pairs: names that swap when the image is mirrored left to right.

    Raises:
        BadLabels: a name or value occurs twice, or is out of range, or names nothing.
    """

    labels: tuple[Label, ...]
    ignore: int | None = None
    regions: tuple[Region, ...] = ()
    mirror_pairs: tuple[tuple[str, str], ...] = field(default=())

    def __post_init__(self) -> None:
        labels = tuple(sorted(self.labels, key=lambda label: label.value))
        object.__setattr__(self, "labels", labels)
        if not labels:
            raise BadLabels("the label table is empty", remedy="Name at least one label.")
        _check_names([label.name for label in labels])
        _check_unique("label value", [label.value for label in labels])
        for label in labels:
            if not label.name.strip() or not 1 <= label.value <= _MOST_VALUE:
                raise BadLabels(
                    "a label needs a name and a value",
                    found=f"{label.name!r}: {label.value}",
                    expected=f"a name and an integer from 1 to {_MOST_VALUE}",
                )
        known = {label.value for label in labels}
        if self.ignore is not None and (self.ignore in known or self.ignore == 0):
            raise BadLabels("the ignore value also names a label", found=self.ignore)
        if self.ignore is not None and not 1 <= self.ignore <= _MOST_VALUE:
            raise BadLabels(
                "no mask can hold the ignore value",
                found=self.ignore,
                expected=f"an integer from 1 to {_MOST_VALUE}",
            )
        for region in self.regions:
            unknown = sorted(set(region.values) - known)
            if unknown or not region.values:
                raise BadLabels(
                    f"region {region.name!r} is made of labels that do not exist",
                    found=unknown,
                    expected=sorted(known),
                )
        for name in _flat(self.mirror_pairs):
            self.value_of(name)

    @property
    def names(self) -> tuple[str, ...]:
        """Label names in order of value."""
        return tuple(label.name for label in self.labels)

    @property
    def values(self) -> tuple[int, ...]:
        """Label values in ascending order."""
        return tuple(label.value for label in self.labels)

    @property
    def channels(self) -> int:
        """Channels of logits: background + labels, or one for each region."""
        return len(self.regions) if self.regions else len(self.labels) + 1

    @property
    def channel_values(self) -> tuple[int, ...]:
        """The integer that each decision leaves in a mask: background, then labels or regions.

        A region paints the one label that no later region paints over.

        Raises:
            BadLabels: a region leaves no label, or several, to paint.
        """
        if not self.regions:
            return (0, *self.values)
        painted = [0]
        for position, region in enumerate(self.regions):
            later = {value for other in self.regions[position + 1 :] for value in other.values}
            own = sorted(set(region.values) - later)
            if len(own) != 1:
                raise BadLabels(
                    f"region {region.name!r} must paint one label of its own",
                    found=own,
                    expected="one label that no later region holds",
                    remedy="List the regions from the widest to the innermost.",
                )
            painted.append(own[0])
        return tuple(painted)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest unsigned integer type that holds every value."""
        return np.dtype(np.min_scalar_type(max(*self.values, 1)))

    def value_of(self, name: str) -> int:
        """The value behind a name.

        Raises:
            BadLabels: nothing has that name.
        """
        for label in self.labels:
            if label.name == name:
                return label.value
        raise BadLabels("no label of that name", found=repr(name), expected=", ".join(self.names))

    def name_of(self, value: int) -> str:
        """The name behind a value.

        Raises:
            BadLabels: nothing has that value.
        """
        for label in self.labels:
            if label.value == value:
                return label.name
        raise BadLabels("no label has that value", found=value, expected=list(self.values))

    def mirror_pairing(self) -> tuple[tuple[int, int], ...] | None:
        """Pairs of values to swap in a left-right mirror; ``None`` where it must not be done.

        A label with a side (by name, or said in the card) needs a partner: one given in
        ``mirror_pairs``, or the label of the same name with the other side where the two are
        twins (:mod:`medseg.labels.twins`). `mirror_obstacle` says why there is none.
        """
        pairs, obstacle = self._swaps()
        return None if obstacle else pairs

    @property
    def mirror_obstacle(self) -> str:
        """Why a scan must not be mirrored from left to right, for people; empty where it may.

        >>> LabelTable.from_card({"labels": {"left kidney": 1}}).mirror_obstacle
        "'left kidney' has a side and no partner to swap with"
        """
        return self._swaps()[1]

    def _swaps(self) -> tuple[tuple[tuple[int, int], ...], str]:
        named = [(self.value_of(one), self.value_of(other)) for one, other in self.mirror_pairs]
        return mirror_swaps(self.labels, self.regions, named)

    def check(self, values: NDArray[Any], *, path: str | None = None) -> None:
        """Refuse integers that the table does not name.

        Raises:
            BadLabels: `values` (any shape; unique values suffice) holds an unknown integer.
        """
        known = {0, *self.values} | ({self.ignore} if self.ignore is not None else set())
        unknown = sorted(present_values(values) - known)
        if unknown:
            raise BadLabels(
                "the mask holds values that no label names",
                path=path,
                found=unknown[:10],
                expected=sorted(known),
                remedy="Name them under labels, or remap them in the card.",
            )

    def called(self, name: str) -> Label | None:
        """The label that a file's name for a structure means.

        Raises:
            BadLabels: it could mean several.
        """
        fitting = [label for label in self.labels if label.is_called(name)]
        exact = [label for label in fitting if plain_name(label.name) == plain_name(name)]
        fitting = exact or fitting
        if len(fitting) > 1:
            raise BadLabels(
                f"a structure called {name!r} could mean several labels",
                found=", ".join(label.name for label in fitting),
                remedy="Make the aliases in the card narrower.",
            )
        return fitting[0] if fitting else None

    def values_of(self, other: LabelTable, present: Iterable[int]) -> dict[int, int]:
        """The value here of each value of another table, matched by name.

        Names that programs give by themselves, such as ``Segment_1``, say nothing: their value
        stays what it is, as long as no other value of the file changes.

        Args:
            other: what a file calls its values.
            present: values that occur in its voxels; others need no match.

        Raises:
            BadLabels: a structure of the file has no label of its name here, or one without a
                name stands beside others that have another value here.
        """
        values = {}
        unnamed = []
        for value in sorted(set(present) - {0}):
            label = next((one for one in other.labels if one.value == value), None)
            if label is None or is_generic(label.name):
                unnamed += [value] if value in self.values else []
                continue
            match = self._meant_by(label)
            if match is None and value == self.ignore:
                continue
            if match is None:
                raise BadLabels(
                    "the file names a structure that is no label",
                    found=f"{label.name!r} = {value}",
                    expected=", ".join(f"{one.name} = {one.value}" for one in self.labels),
                    remedy=f"Add {label.name!r} to the aliases of its label in the card.",
                )
            values[value] = match.value
        moved = [other.name_of(old) for old, new in values.items() if old != new]
        if unnamed and moved:
            raise BadLabels(
                "the file names some of its values only, and their values are not the card's",
                found=f"{unnamed[:10]} without a name, {moved[0]!r} = {other.value_of(moved[0])}",
                expected=", ".join(f"{one.name} = {one.value}" for one in self.labels),
                remedy="Name every segment of the file.",
            )
        return values

    def _meant_by(self, label: Label) -> Label | None:
        """The label that another table's label means, by its name or what else it is called."""
        for name in (label.name, *label.aliases):
            if match := self.called(name):
                return match
        return None

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> LabelTable:
        """Build from the keys ``labels``, ``ignore``, ``regions`` and ``mirror_pairs``.

        Raises:
            BadLabels: the mapping does not describe labels.
        """
        labels, ignore, regions, pairs = read_card(card)
        return cls(labels, ignore, regions, pairs)

    def to_card(self) -> dict[str, Any]:
        """The long form that :meth:`from_card` reads back, plain YAML values."""
        return card_of(self.labels, self.ignore, self.regions, self.mirror_pairs)


def present_values(values: NDArray[Any]) -> set[int]:
    """Every integer that occurs; what fills most of a mask, its background, is not sorted."""
    flat = values.ravel(order="K")
    present: set[int] = set()
    for start in range(0, flat.size, _VOXELS):
        part = flat[start : start + _VOXELS]
        present |= {int(part[0]), *map(int, np.unique(part[part != part[0]]))}
    return present


def _check_unique(what: str, items: list[Any]) -> None:
    twice = sorted({item for item in items if items.count(item) > 1})
    if twice:
        raise BadLabels(f"the same {what} occurs twice", found=twice)


def _check_names(names: list[str]) -> None:
    """Refuse names that tables, files or people could take for one another."""
    _check_unique("label name", names)
    plain: dict[str, str] = {}
    for name in names:
        if name and (name != name.strip() or not name.isprintable()):
            raise BadLabels(
                "a label's name has blanks around it or characters that cannot be shown",
                found=repr(name[:60]),
                expected=repr(" ".join("".join(filter(str.isprintable, name)).split())[:60]),
            )
        other = plain.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            raise BadLabels("two labels differ only in upper and lower case", found=[other, name])


def _flat(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [name for pair in pairs for name in pair]
