"""Scores of two arrays, for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from medseg.config import EvaluateConfig
from medseg.errors import BadGeometry, BadLabels, GridMismatch
from medseg.metrics import METRICS, Structure, pairs


def score(
    truth: ArrayLike,
    prediction: ArrayLike,
    spacing_mm: ArrayLike,
    *,
    labels: Mapping[str, int | Sequence[int]] | None = None,
    ignore: int | None = None,
    tolerance_mm: float | None = None,
) -> pd.DataFrame:
    """Every metric of two masks on one grid.

    Args:
        truth: (X, Y, Z) booleans, or whole numbers with 0 for background.
        prediction: the same of the prediction.
        spacing_mm: voxel size along each array axis, or the (3, 3) steps of the grid, one a
            column (an affine's upper left part).
        labels: value, or values of a region, by name; ``None`` scores booleans as ``mask`` and
            needs nothing else.
        ignore: value of the truth where nothing is known.
        tolerance_mm: of the NSD; `EvaluateConfig`'s where not given.

    Returns:
        One row a label, one column a metric of `METRICS`; NaN where undefined (``docs/metrics.md``
        has the rules for empty masks).

    Raises:
        GridMismatch: the shapes differ, or are not three-dimensional.
        BadLabels: a value that nothing names, or no labels for more than booleans.
        BadGeometry: the spacing is not three positive numbers or an invertible (3, 3) matrix.

    A box of 4 x 4 x 4 voxels of 2 mm^3, predicted one voxel too far along the first axis:

    >>> import numpy as np, medseg
    >>> truth, prediction = np.zeros((2, 12, 12, 12), np.uint8)
    >>> truth[3:7, 3:7, 3:7] = prediction[4:8, 3:7, 3:7] = 1
    >>> scores = medseg.score(truth, prediction, (2, 1, 1), labels={"liver": 1})
    >>> scores.loc["liver", ["dice", "hd95", "truth_ml"]].tolist()
    [0.75, 2.0, 0.128]
    """
    arrays = [np.asarray(array) for array in (truth, prediction)]
    if arrays[0].ndim != 3 or arrays[0].shape != arrays[1].shape:
        raise GridMismatch(
            "truth and prediction must be three-dimensional arrays of one shape",
            found=f"{arrays[0].shape} and {arrays[1].shape}",
        )
    structures = _structures(labels, arrays)
    known = {0, *(value for structure in structures for value in structure.values)}
    masks = [
        _whole(name, array, known | ({ignore} if ignore is not None and name == "truth" else set()))
        for name, array in zip(("truth", "prediction"), arrays, strict=True)
    ]
    tolerance = EvaluateConfig().tolerance_mm if tolerance_mm is None else tolerance_mm
    rows = {
        structure.name: {name: metric.value(pair) for name, metric in METRICS.items()}
        for structure, pair in pairs(
            masks[0],
            masks[1],
            structures,
            _steps(spacing_mm),
            tolerances_mm={structure.name: tolerance for structure in structures},
            ignore=ignore,
        )
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def _structures(
    labels: Mapping[str, int | Sequence[int]] | None, arrays: Sequence[NDArray[Any]]
) -> list[Structure]:
    if labels is None:
        if all(array.dtype.kind == "b" for array in arrays):
            return [Structure("mask", (1,))]
        raise BadLabels(
            "nothing says what the values mean",
            found=[str(array.dtype) for array in arrays],
            remedy="Give labels={'liver': 1}, or arrays of booleans.",
        )
    structures = [
        Structure(name, (values,) if isinstance(values, int) else tuple(values))
        for name, values in labels.items()
    ]
    if not structures or any(not s.values or min(s.values) < 1 for s in structures):
        raise BadLabels("labels map names to values from 1 on", found=dict(labels))
    return structures


def _whole(name: str, array: NDArray[Any], known: set[int]) -> NDArray[np.uint32]:
    """The array as unsigned integers, every value of which has a name."""
    values = {value.item() for value in np.unique(array)}
    unknown = sorted((value for value in values if value not in known), key=str)
    if unknown:
        raise BadLabels(
            f"the {name} holds a value that no label has",
            found=unknown[:10],
            expected=sorted(known),
        )
    return array.astype(np.min_scalar_type(max(known)))


def _steps(spacing_mm: ArrayLike) -> NDArray[np.float64]:
    steps = np.asarray(spacing_mm, dtype=np.float64)
    if steps.shape == (3,):
        steps = np.diag(np.where(steps > 0, steps, 0.0))
    if steps.shape != (3, 3) or not np.isfinite(steps).all() or np.linalg.det(steps) == 0:
        raise BadGeometry(
            "not the spacing of a grid", found=spacing_mm, expected="three lengths in mm"
        )
    return steps
