"""How is a map of many labels taken apart?  One count for all, then a crop for each structure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.metrics.counts import counts_of, joint_counts
from medseg.metrics.metric import DEFAULT_TOLERANCE_MM
from medseg.metrics.pair import Pair

Box = tuple[slice, slice, slice]


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
    truth: NDArray[Any], prediction: NDArray[Any], structures: Sequence[Structure],
    steps_mm: NDArray[np.float64], *, tolerances_mm: Mapping[str, float] | None = None,
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
    highest = max(max(structure.values) for structure in structures)
    joint = joint_counts(truth, prediction, highest + 1)
    boxes = _boxes(truth, prediction, highest)
    for structure in structures:
        box = _union([boxes[value] for value in structure.values if value in boxes])
        tolerance = (tolerances_mm or {}).get(structure.name, DEFAULT_TOLERANCE_MM)
        pair = Pair(_mask(truth[box], structure), _mask(prediction[box], structure), steps_mm,
                    tolerance)
        pair.__dict__["counts"] = counts_of(joint, structure.values)
        yield structure, pair


def _mask(values: NDArray[Any], structure: Structure) -> NDArray[np.bool_]:
    if len(structure.values) == 1:
        return np.asarray(values == structure.values[0])
    return np.isin(values, structure.values)


def _boxes(truth: NDArray[Any], prediction: NDArray[Any], highest: int) -> dict[int, Box]:
    """The smallest box around each value in either array."""
    boxes: dict[int, Box] = {}
    for values in (truth, prediction):
        for value, box in enumerate(ndimage.find_objects(values, max_label=highest), start=1):
            if box is not None:
                found = (box[0], box[1], box[2])
                boxes[value] = _union([found, boxes[value]]) if value in boxes else found
    return boxes


def _union(boxes: Sequence[Box]) -> Box:
    """The smallest box around boxes; an empty one where there are none."""
    if not boxes:
        return slice(0, 0), slice(0, 0), slice(0, 0)
    low = [min(box[axis].start for box in boxes) for axis in range(3)]
    high = [max(box[axis].stop for box in boxes) for axis in range(3)]
    return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])
