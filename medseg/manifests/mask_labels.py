"""Finds out which labels the masks of a data set hold, by the names or the values in the files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadCohort
from medseg.labels import LabelTable, is_generic, plain_name
from medseg.memory import usable_cores
from medseg.readers.labels import segment_names
from medseg.scans.masks import read_mask

#: More values than this, and fewer neighbours along an axis that agree, are no mask's.
_MANY_VALUES, _LEAST_AGREEMENT = 20, 0.2


def labels_in(masks: Iterable[Path]) -> LabelTable:
    """The labels that masks hold: by the names in the files, else ``label N`` for every value.

    Files that name all that they hold are matched by name, whatever values each gives.

    Raises:
        BadCohort: there is no mask, none holds anything, or two name one value differently and
            something in them has no name.
    """
    paths = list(masks)
    with ThreadPoolExecutor(min(8, usable_cores())) as pool:
        contents = list(pool.map(_values_held, paths))
    if all(name and not is_generic(name) for named in contents for name in named.values()):
        names = _by_name(contents)
    else:
        names = _by_value(paths, contents)
    if not names:
        raise BadCohort(
            "the masks name no labels and hold none" if paths else "no scan has a mask",
            found=f"{len(paths)} masks" if paths else None,
            expected=None if paths else "masks, or labels to be drawn later",
            remedy="Give the labels, for example labels='{liver: 1}'.",
        )
    return LabelTable.from_card(
        {"labels": {names[value] or f"label {value}": value for value in sorted(names)}}
    )


def labels_named_in(masks: Iterable[Path]) -> LabelTable | None:
    """The labels that masks name in their headers; ``None`` where one of them names too little.

    Raises:
        BadScan: a header is corrupt.
    """
    contents = [dict(enumerate(segment_names(path), start=1)) for path in masks]
    if (
        not contents
        or not all(contents)
        or any(is_generic(name) for named in contents for name in named.values())
    ):
        return None
    return LabelTable.from_card({"labels": {name: v for v, name in _by_name(contents).items()}})


def _by_name(contents: Sequence[Mapping[int, str]]) -> dict[int, str]:
    """Value to name; of two names with one value, the later gets the next one that is free."""
    values: dict[str, int] = {}
    names: dict[int, str] = {}
    for named in contents:
        for value, name in named.items():
            if plain_name(name) in values:
                continue
            free = value if value not in names else max(names) + 1
            values[plain_name(name)], names[free] = free, name
    return names


def _by_value(paths: Sequence[Path], contents: Sequence[Mapping[int, str]]) -> dict[int, str]:
    """Value to name, or to nothing where no file names it."""
    names: dict[int, str] = {}
    for path, named in zip(paths, contents, strict=True):
        for value, name in named.items():
            if not names.setdefault(value, name):
                names[value] = name
            if name and plain_name(names[value]) != plain_name(name):
                raise BadCohort(
                    f"two masks name the value {value} differently",
                    path=path,
                    found=f"{name!r} and {names[value]!r}",
                    remedy="Give the labels, for example labels='{liver: 1}'.",
                )
    return names


def _values_held(path: Path) -> dict[int, str]:
    """Values of a mask, each with its name in the file or an empty one."""
    mask = read_mask(path)
    if _resembles_a_scan(mask.data):
        raise BadCohort(
            "looks like a scan, not a mask",
            path=path,
            found=f"{len(np.unique(mask.data))} values, and neighbours hardly ever agree",
            expected="one value for each label",
            remedy="Say which files are the masks, or give labels='{liver: 1}'.",
        )
    named = {} if mask.labels is None else {label.value: label.name for label in mask.labels.labels}
    values = {int(value) for value in np.unique(mask.data)} | set(named)
    return {value: named.get(value, "") for value in values - {0}}


def _resembles_a_scan(values: NDArray[Any]) -> bool:
    """Whether (X, Y, Z) values are many and change from voxel to voxel, as intensities do.

    >>> noise = np.random.default_rng(0).integers(1, 99, (9, 9, 9))
    >>> _resembles_a_scan(noise), _resembles_a_scan(noise.repeat(5, axis=0))
    (True, False)
    """
    if len(np.unique(values)) <= _MANY_VALUES:
        return False
    return all(_agreement(np.moveaxis(values, k, 0)) < _LEAST_AGREEMENT for k in range(3))


def _agreement(values: NDArray[Any]) -> float:
    """Share of neighbours along the first axis, not both background, that are equal."""
    inside = (values[1:] != 0) | (values[:-1] != 0)
    same = (values[1:] == values[:-1]) & inside
    return float(same.sum() / max(1, inside.sum()))
