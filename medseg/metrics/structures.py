"""A map of many labels taken apart: one survey for all, then a crop for each structure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.config import TOLERANCE_MM
from medseg.geometry import Box
from medseg.metrics.counts import survey
from medseg.metrics.pair import Pair


@dataclass(frozen=True)
class Structure:
    """What is scored under one name: one label, or a region of several (they may overlap).

    Attributes:
        name: of the label or region.
        values: its integers.
    """

    name: str
    values: tuple[int, ...]


def pairs(
    truth: NDArray[Any],
    prediction: NDArray[Any],
    structures: Sequence[Structure],
    steps_mm: NDArray[np.float64],
    *,
    tolerances_mm: Mapping[str, float] | None = None,
    ignore: int | None = None,
) -> Iterator[tuple[Structure, Pair]]:
    """One :class:`Pair` after the other, cropped to the structure; one at a time in memory.

    Args:
        truth: (X, Y, Z) unsigned integers; 0 is background.
        prediction: the same of the prediction.
        structures: what to score.
        steps_mm: (3, 3) steps of the grid, one a column.
        tolerances_mm: NSD tolerance by name; `TOLERANCE_MM` for others.
        ignore: value of the truth where nothing is known; what the prediction holds there does
            not matter, and surfaces end before it.

    Raises:
        GridMismatch: the arrays differ in shape.
        BadLabels: a voxel holds a value beyond those of the structures.
    """
    if truth.flags.f_contiguous:  # as NIfTI stores it: the same voxels, axes in memory's order
        truth, prediction, steps_mm = truth.T, prediction.T, steps_mm[:, ::-1]
    values = sorted({value for structure in structures for value in structure.values})
    located = survey(truth, prediction, values, ignore=ignore)
    ignored = None if ignore is None else truth == ignore
    for structure in structures:
        box = located.box(structure.values)
        hidden = None
        if ignored is not None:
            box = _wider(box, truth.shape)
            hidden = np.ascontiguousarray(ignored[box])
        masks = [_mask(array[box], structure, hidden) for array in (truth, prediction)]
        yield (
            structure,
            Pair(
                masks[0],
                masks[1],
                steps_mm,
                (tolerances_mm or {}).get(structure.name, TOLERANCE_MM),
                located.counts(structure.values),
                hidden if hidden is not None and hidden.any() else None,
            ),
        )


def _wider(box: Box, shape: tuple[int, ...]) -> Box:
    """The box and the voxels around it, which may be ignored ones that hide its surface."""
    x, y, z = (
        slice(max(0, part.start - 1), min(size, part.stop + 1))
        for part, size in zip(box, shape, strict=True)
    )
    return x, y, z


def _mask(
    values: NDArray[Any], structure: Structure, hidden: NDArray[np.bool_] | None
) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = np.equal(values, structure.values[0], order="C", dtype=bool)
    for value in structure.values[1:]:
        inside |= values == value
    if hidden is not None:
        inside &= ~hidden
    return inside
