"""Structures that were drawn one by one, and may overlap, become one integer a voxel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadLabels
from medseg.labels import LabelTable, plain_name


@dataclass(frozen=True, eq=False)
class Segment:
    """One structure.

    Attributes:
        name: as the file calls it.
        colour: ``#rrggbb``, or empty.
        mask: (X, Y, Z) where it is.
    """

    name: str
    colour: str
    mask: NDArray[np.bool_]


def combine(
    segments: Sequence[Segment], wanted: LabelTable | None, *, path: Path
) -> tuple[NDArray[Any], LabelTable, tuple[str, ...]]:
    """One integer a voxel, the table that names it, and what the user should know.

    Without a table, segments count from 1 in their order. With one, a segment belongs to the
    label that it is called by (several may be parts of one label), and what no label is called
    is left out. Segments that are called as the table's regions are painted in its order, from
    the widest to the innermost.

    Raises:
        BadLabels: no segment fits the table, or two of different labels share a voxel.
    """
    if wanted is None:
        names = unique_names([one.name for one in segments])
        table = LabelTable.from_card(
            {
                "labels": {
                    name: {"value": value, "colour": one.colour}
                    for value, (name, one) in enumerate(zip(names, segments, strict=True), start=1)
                }
            }
        )
        parts = list(zip(table.values, segments, strict=True))
        return _painted(parts, path), table, ()
    if regions := _as_regions(segments, wanted):
        return _in_order(regions), wanted, ()
    parts, left_out = [], []
    for one in segments:
        label = wanted.called(one.name)
        if label is None:
            left_out.append(one.name)
        else:
            parts.append((label.value, one))
    if not parts:
        raise BadLabels(
            "no structure in the file has a label's name",
            path=path,
            found=", ".join(left_out[:20]),
            expected=", ".join(wanted.names),
            remedy="Name it under aliases of its label in the card, for example aliases: ['GTV*'].",
        )
    notice = (f"structures that no label is called: {', '.join(left_out)}",) if left_out else ()
    return _painted(parts, path), wanted, notice


def unique_names(names: Sequence[str]) -> list[str]:
    """The names, numbered where they repeat or differ in case alone.

    >>> unique_names(["liver", "lesion", "Lesion", "lesion 1"])
    ['liver', 'lesion 2', 'Lesion 3', 'lesion 1']
    """
    uses = Counter(map(plain_name, names))
    taken = {plain_name(name) for name in names if uses[plain_name(name)] == 1}
    result = []
    for name in names:
        if uses[plain_name(name)] == 1:
            result.append(name)
            continue
        numbered = (f"{name} {n}" for n in count(1))
        result.append(next(one for one in numbered if plain_name(one) not in taken))
        taken.add(plain_name(result[-1]))
    return result


def _as_regions(
    segments: Sequence[Segment], wanted: LabelTable
) -> list[tuple[int, NDArray[np.bool_]]]:
    """Value and mask of each region in the table's order; empty where names do not fit."""
    by_name = {plain_name(one.name): one.mask for one in segments}
    names = [plain_name(region.name) for region in wanted.regions]
    if not names or not set(names) <= set(by_name):
        return []
    values = wanted.channel_values[1:]
    return [(value, by_name[name]) for value, name in zip(values, names, strict=True)]


def _in_order(regions: list[tuple[int, NDArray[np.bool_]]]) -> NDArray[Any]:
    most = max(value for value, _ in regions)
    data = np.zeros(regions[0][1].shape, np.min_scalar_type(most))
    for value, mask in regions:
        data[mask] = value
    return data


def _painted(parts: Sequence[tuple[int, Segment]], path: Path) -> NDArray[Any]:
    most = max(value for value, _ in parts)
    data = np.zeros(parts[0][1].mask.shape, np.min_scalar_type(most))
    for place, (value, one) in enumerate(parts):
        taken = one.mask & (data != 0) & (data != value)
        if taken.any():
            other = next(
                earlier.name
                for earlier_value, earlier in parts[:place]
                if earlier_value != value and (earlier.mask & one.mask).any()
            )
            raise BadLabels(
                f"{other!r} and {one.name!r} overlap",
                path=path,
                found=f"{int(taken.sum())} voxels that belong to both",
                remedy="Export them without overlap, or name them as regions in the card.",
            )
        data[one.mask] = value
    return data
