"""The meaning of a mask's integers: labels of a cohort or model, regions, mirror pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadLabels
from medseg.labels.label import (
    Label,
    Side,
    integer,
    is_generic,
    label_from_card,
    plain_name,
    without_side,
)
from medseg.labels.twins import are_twins

#: Voxels looked at in one go.
_VOXELS = 1 << 22


@dataclass(frozen=True)
class Region:
    """A union of labels that a network predicts as one (whole tumour = oedema + core)."""

    name: str
    values: tuple[int, ...]


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
        _check_unique("label name", [label.name for label in labels])
        _check_unique("label value", [label.value for label in labels])
        for label in labels:
            if not label.name.strip() or not 1 <= label.value <= 65535:
                raise BadLabels(
                    "a label needs a name and a value",
                    found=f"{label.name!r}: {label.value}",
                    expected="a name and an integer from 1 to 65535",
                )
        known = {label.value for label in labels}
        if self.ignore is not None and (self.ignore in known or self.ignore == 0):
            raise BadLabels("the ignore value also names a label", found=self.ignore)
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
        pairs, obstacle = self._mirror()
        return None if obstacle else pairs

    @property
    def mirror_obstacle(self) -> str:
        """Why a scan must not be mirrored from left to right, for people; empty where it may.

        >>> LabelTable.from_card({"labels": {"left kidney": 1}}).mirror_obstacle
        "'left kidney' has a side and no partner to swap with"
        """
        return self._mirror()[1]

    def _mirror(self) -> tuple[tuple[tuple[int, int], ...], str]:
        pairs = {tuple(sorted(map(self.value_of, pair))) for pair in self.mirror_pairs}
        paired = {value for pair in pairs for value in pair}
        for label in self.labels:
            if label.value in paired or label.side is Side.NONE:
                continue
            twin = self._twin(label)
            if twin is None:
                return (), f"{label.name!r} has a side and no partner to swap with"
            if not are_twins(without_side(label.name)):
                return (), (
                    f"{label.name!r} and {twin.name!r} are not known to be mirror images of each "
                    "other; where they are, name them under mirror_pairs in the card"
                )
            pairs.add((min(label.value, twin.value), max(label.value, twin.value)))
        for region in self.regions:
            if self._splits(region, pairs):
                return (), f"region {region.name!r} holds one side of a pair"
        return tuple(sorted((a, b) for a, b in pairs)), ""

    def _twin(self, label: Label) -> Label | None:
        stem = without_side(label.name)
        twins = [
            other
            for other in self.labels
            if other.side not in (Side.NONE, label.side) and without_side(other.name) == stem
        ]
        return twins[0] if len(twins) == 1 else None

    @staticmethod
    def _splits(region: Region, pairs: Iterable[tuple[int, ...]]) -> bool:
        return any((a in region.values) != (b in region.values) for a, b in pairs)

    def check(self, values: NDArray[Any], *, path: str | None = None) -> None:
        """Refuse integers that the table does not name.

        Raises:
            BadLabels: `values` (any shape; unique values suffice) holds an unknown integer.
        """
        known = {0, *self.values} | ({self.ignore} if self.ignore is not None else set())
        unknown = sorted(_present(values) - known)
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
        stays what it is.

        Args:
            other: what a file calls its values.
            present: values that occur in its voxels; others need no match.

        Raises:
            BadLabels: a structure of the file has no label of its name here.
        """
        values = {}
        for value in sorted(set(present) - {0, self.ignore}):
            label = next((one for one in other.labels if one.value == value), None)
            if label is None or is_generic(label.name):
                continue
            match = self.called(label.name)
            if match is None:
                raise BadLabels(
                    "the file names a structure that no label is called",
                    found=f"{label.name!r} = {value}",
                    expected=", ".join(f"{one.name} = {one.value}" for one in self.labels),
                    remedy=f"Add {label.name!r} to the aliases of its label in the card.",
                )
            values[value] = match.value
        return values

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> LabelTable:
        """Build from the keys ``labels``, ``ignore``, ``regions`` and ``mirror_pairs``.

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
        entries = {
            name: entry for name, entry in entries.items() if not _is_background(name, entry)
        }
        labels = [
            label_from_card(str(name), entry, position)
            for position, (name, entry) in enumerate(entries.items())
        ]
        regions = tuple(
            _region(str(name), values) for name, values in (card.get("regions") or {}).items()
        )
        pairs = tuple(_pair(names) for names in card.get("mirror_pairs") or ())
        ignore = card.get("ignore")
        return cls(
            tuple(labels), None if ignore is None else integer(ignore, "ignore"), regions, pairs
        )

    def to_card(self) -> dict[str, Any]:
        """The long form that :meth:`from_card` reads back, plain YAML values."""
        labels: dict[str, dict[str, Any]] = {}
        for label in self.labels:
            entry: dict[str, Any] = {"value": label.value, "colour": label.colour}
            if label.code:
                entry["code"] = list(label.code)
            entry["side"] = label.side.value
            if label.aliases:
                entry["aliases"] = list(label.aliases)
            labels[label.name] = entry
        card: dict[str, Any] = {"labels": labels}
        if self.ignore is not None:
            card["ignore"] = self.ignore
        if self.regions:
            card["regions"] = {region.name: list(region.values) for region in self.regions}
        if self.mirror_pairs:
            card["mirror_pairs"] = [list(pair) for pair in self.mirror_pairs]
        return card


def _present(values: NDArray[Any]) -> set[int]:
    """Every integer that occurs, in the order in which the voxels lie in memory."""
    flat = values.ravel(order="K")
    parts = (flat[start : start + _VOXELS] for start in range(0, flat.size, _VOXELS))
    return {int(value) for part in parts for value in np.unique(part)}


def _is_background(name: object, entry: object) -> bool:
    return entry == 0 or (isinstance(entry, Mapping) and entry.get("value") == 0)


def _region(name: str, values: Any) -> Region:
    if not isinstance(values, list | tuple):
        raise BadLabels(f"region {name!r} is no list of label values", found=repr(values))
    return Region(name, tuple(integer(value, name) for value in values))


def _pair(names: Any) -> tuple[str, str]:
    if not isinstance(names, list | tuple) or len(names) != 2:
        raise BadLabels("a mirror pair is not two names", found=repr(names))
    return str(names[0]), str(names[1])


def _check_unique(what: str, items: list[Any]) -> None:
    twice = sorted({item for item in items if items.count(item) > 1})
    if twice:
        raise BadLabels(f"the same {what} occurs twice", found=twice)


def _flat(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [name for pair in pairs for name in pair]
