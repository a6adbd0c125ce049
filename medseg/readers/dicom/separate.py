"""Separates several images at the same positions: echoes, time points, image types."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

from medseg.readers.dicom.file import Plane
from medseg.readers.dicom.frames import EXAMINATION

#: Marks that all slices of one volume share.
_CONTRAST = (
    "image type",
    "component",
    "kernel",
    "echo",
    "echo time",
    "inversion time",
    "flip angle",
    "b-value",
    "time point",
)
#: Slices of one contrast may follow those of another so often; more is a mixture.
_FEW_CHANGES = 2

Groups = list[tuple[str, list[Plane]]]
Slots = Sequence[Sequence[Plane]]

#: Marks whose values are times of day: known by their order alone.
_UNTOLD = ("acquisition time", "content time", "frame time", EXAMINATION)

#: Marks that may change from slice to slice, but come back to a value in a mixture alone; those
#: of an acquisition in a CT alone: an MR may take every other slice first.
_RETURNING, _RETURNING_CT = (EXAMINATION,), ("acquisition", "acquisition time")


def separate(slots: Slots) -> tuple[Groups, str]:
    """Complete volumes among planes of which several share their position.

    Args:
        slots: the planes at each position, positions in order.

    Returns:
        The volumes, each with a label and one plane a position; none where nothing in the headers
        separates the planes. And why there are several.
    """
    counts = Counter(len(slot) for slot in slots)
    marks = {id(plane): dict(plane.frame.marks) for slot in slots for plane in slot}
    names = [
        name
        for name in dict.fromkeys(
            name for slot in slots for plane in slot for name in marks[id(plane)]
        )
        if _separates(slots, name, marks)
    ]
    keyed: dict[tuple[tuple[bool, float, str], ...], list[list[Plane]]] = {}
    for place, slot in enumerate(slots):
        for plane in slot:
            key = tuple(_sortable(marks[id(plane)].get(name)) for name in names)
            keyed.setdefault(key, [[] for _ in slots])[place].append(plane)
    groups: Groups = []
    for key in sorted(keyed):
        label = ", ".join(
            _phrase(name, value)
            for name, value in zip(names, key, strict=True)
            if name not in _UNTOLD
        )
        groups += _by_number(keyed[key], label)
    return groups, _why(counts, len(slots), names, len(groups))


def _separates(slots: Slots, name: str, marks: dict[int, dict[str, float | str]]) -> bool:
    """Whether a mark splits the planes into volumes, at least one of them complete."""
    by_value: dict[object, list[int]] = {}
    for place, slot in enumerate(slots):
        for plane in slot:
            by_value.setdefault(marks[id(plane)].get(name), []).append(place)
    if len(by_value) < 2:
        return False
    complete = [places for places in by_value.values() if _even(places, len(slots))]
    if len({len(slot) for slot in slots}) == 1:
        return len(complete) == len(by_value)
    return bool(complete) and all(
        len(set(Counter(places).values())) == 1 for places in by_value.values()
    )


def _even(places: list[int], count: int) -> bool:
    """Every position, each as often as the others."""
    occurrences = Counter(places)
    return len(occurrences) == count and len(set(occurrences.values())) == 1


def _by_number(slots: list[list[Plane]], label: str) -> Groups:
    """Volumes among planes that no mark separates, by the scanner's own counting.

    Instance numbers count when they run through all positions again and again, or through all
    images of one position before the next.
    """
    depth = len(slots[0])
    if depth == 0 or any(len(slot) != depth for slot in slots):
        return []
    if depth == 1:
        return [(label, [slot[0] for slot in slots])]
    place = {id(plane): k for k, slot in enumerate(slots) for plane in slot}
    planes = sorted((plane for slot in slots for plane in slot), key=lambda plane: plane.order)
    orders = [plane.order for plane in planes]
    if len(set(orders)) < len(orders):
        return []
    count = len(slots)
    rounds = [planes[i : i + count] for i in range(0, len(planes), count)]
    if not all(len({place[id(plane)] for plane in one}) == count for one in rounds):
        stays = [planes[i : i + depth] for i in range(0, len(planes), depth)]
        if not all(len({place[id(plane)] for plane in one}) == 1 for one in stays):
            return []
        rounds = [[one[k] for one in stays] for k in range(depth)]
    return [
        (f"{label}, number {k}".removeprefix(", "), sorted(one, key=lambda plane: place[id(plane)]))
        for k, one in enumerate(rounds)
    ]


def mixture(planes: Sequence[Plane]) -> tuple[str, tuple[str, ...]]:
    """Whether slices of several contrasts or scalings make what looks like one volume.

    Two volumes half a step apart fall together into a perfect grid of half the step.

    Returns:
        Why the planes cannot be one volume, or empty; and what should be said.
    """
    lacking = [plane for plane in planes if plane.pixels.assumed]
    bits = {(plane.pixels.stored, plane.pixels.high_bit, plane.pixels.signed) for plane in planes}
    if 0 < len(lacking) < len(planes) and len(bits) > 1:
        return (
            f"conflict: {len(lacking)} of {len(planes)} slices lack "
            f"{', '.join(lacking[0].pixels.assumed)} (first: {lacking[0].file.source.name}), "
            "and the others are not stored as it would be without",
            (),
        )
    unscaled = [plane for plane in planes if not plane.frame.rescaled]
    scalings = {(plane.frame.slope, plane.frame.intercept) for plane in planes}
    if 0 < len(unscaled) < len(planes) and len(scalings) > 1:
        return (
            f"conflict: {len(unscaled)} of {len(planes)} slices lack RescaleSlope or "
            f"RescaleIntercept (first: {unscaled[0].file.source.name}), the others have them",
            (),
        )
    warnings = []
    marks = [dict(plane.frame.marks) for plane in planes]
    for name in _CONTRAST:
        values = [mark.get(name) for mark in marks]
        changes = sum(not _alike(a, b) for a, b in itertools.pairwise(values))
        if changes > _FEW_CHANGES:
            return (
                f"several volumes mixed: the {name} changes {changes} times from slice to "
                "slice (4D, several echoes or types?)",
                (),
            )
        if changes:
            warnings.append(f"the {name} is not the same in all slices")
    for name in (*_RETURNING, *(_RETURNING_CT if planes[0].file.modality == "CT" else ())):
        if _returns([mark.get(name) for mark in marks]) > _FEW_CHANGES:
            return f"several volumes mixed: every few slices belong to another {name}", ()
    return "", tuple(warnings)


def _returns(values: Sequence[float | str | None]) -> int:
    """How often a value comes back after others."""
    changed = [b for a, b in itertools.pairwise(values) if a != b]
    return len(changed) - len({*changed} - {*values[:1]})


def _alike(one: float | str | None, other: float | str | None) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= 0.01 * max(abs(one), abs(other))
    return one == other


def _sortable(value: float | str | None) -> tuple[bool, float, str]:
    if isinstance(value, str):
        return True, 0.0, value
    return False, -1.0 if value is None else value, ""


def _phrase(name: str, value: tuple[bool, float, str]) -> str:
    return f"{name} {value[2] if value[0] else f'{value[1]:g}'}"


def _why(counts: Counter[int], positions: int, names: list[str], volumes: int) -> str:
    if len(counts) == 1:
        images = f"{next(iter(counts))} images at each of {positions} positions"
    else:
        images = (
            f"{min(counts)} to {max(counts)} images at the same position: duplicates that "
            "conflict, or an incomplete volume"
        )
    differ = (
        f"they differ in {' and '.join(names[:3])}"
        if names
        else (
            "they differ in instance number alone"
            if volumes
            else "nothing in the headers tells them apart"
        )
    )
    return f"several images at the same position (4D, several echoes or types?): {images}; {differ}"
