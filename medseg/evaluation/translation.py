"""A prediction's values turned into those of the cohort, by the names of labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadLabels
from medseg.labels import LabelTable

#: Voxels translated at a time: numpy makes 8-byte indices of them.
CHUNK_VOXELS = 1_000_000


def same_names(
    values: NDArray[Any], theirs: LabelTable, ours: LabelTable, *, path: Path
) -> NDArray[Any]:
    """A prediction's values turned into the cohort's for labels of the same name, else 0.

    Raises:
        BadLabels: the prediction holds a value that its own table does not name.
    """
    highest = int(values.max(initial=0))
    table = np.zeros(highest + 1, dtype=ours.dtype)
    for label in theirs.labels:
        if label.name in ours.names and label.value <= highest:
            table[label.value] = ours.value_of(label.name)
    order: Literal["C", "F"] = "F" if values.flags.f_contiguous else "C"
    flat = values.ravel(order=order)
    result = np.empty(flat.shape, dtype=ours.dtype)
    seen = np.zeros(highest + 1, dtype=bool)
    for start in range(0, flat.size, CHUNK_VOXELS):
        part = flat[start : start + CHUNK_VOXELS]
        seen |= np.bincount(part, minlength=highest + 1) > 0
        result[start : start + CHUNK_VOXELS] = table[part]
    known = {0, *theirs.values} | ({theirs.ignore} if theirs.ignore is not None else set())
    unknown = sorted({int(value) for value in np.flatnonzero(seen)} - known)
    if unknown:
        raise BadLabels(
            "the prediction holds values that its labels do not name",
            path=path,
            found=unknown[:10],
            expected=sorted(known),
            remedy="Correct labels.yaml or --labels.",
        )
    return result.reshape(values.shape, order=order)
