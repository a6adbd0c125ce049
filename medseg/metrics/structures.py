"""How is a map of many labels taken apart?  One survey for all, then a crop for each structure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.metrics.counts import survey
from medseg.metrics.metric import DEFAULT_TOLERANCE_MM
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
) -> Iterator[tuple[Structure, Pair]]:
    """One :class:`Pair` after the other, cropped to the structure; one at a time in memory.

    Args:
        truth: (X, Y, Z) unsigned integers; 0 is background.
        prediction: the same of the prediction.
        structures: what to score.
        steps_mm: (3, 3) steps of the grid, one a column.
        tolerances_mm: NSD tolerance by name; `DEFAULT_TOLERANCE_MM` for others.

    Raises:
        GridMismatch: the arrays differ in shape.
        BadLabels: a voxel holds a value beyond those of the structures.
    """
    if truth.flags.f_contiguous:  # as NIfTI stores it: the same voxels, axes in memory's order
        truth, prediction, steps_mm = truth.T, prediction.T, steps_mm[:, ::-1]
    highest = max(max(structure.values) for structure in structures)
    found = survey(truth, prediction, highest + 1)
    for structure in structures:
        box = found.box(structure.values)
        tolerance = (tolerances_mm or {}).get(structure.name, DEFAULT_TOLERANCE_MM)
        yield (
            structure,
            Pair(
                _mask(truth[box], structure),
                _mask(prediction[box], structure),
                steps_mm,
                tolerance,
                found.counts(structure.values),
            ),
        )


def _mask(values: NDArray[Any], structure: Structure) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = np.equal(values, structure.values[0], order="C", dtype=bool)
    for value in structure.values[1:]:
        inside |= values == value
    return inside
