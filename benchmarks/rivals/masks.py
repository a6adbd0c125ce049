"""Compares two folders of masks with each other and with the truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.readers.labels import read_labels

Masks = Mapping[str, Path]


def masks_in(folder: Path) -> dict[str, Path]:
    """Masks by case; nnU-Net drops the ``_0000`` of its input, medseg keeps it."""
    found = sorted(folder.glob("*.nii.gz"))
    return {path.name.removesuffix(".nii.gz").removesuffix("_0000"): path for path in found}


def agreement(ours: Masks, theirs: Masks) -> dict[str, Any]:
    """Share of voxels that are the same, over all cases and in the worst one."""
    cases = sorted(ours.keys() & theirs.keys())
    same, voxels, worst = 0, 0, 1.0
    for case in cases:
        a, b = _values(ours[case]), _values(theirs[case])
        if a.shape != b.shape:
            return {"cases": len(cases), "agree": 0.0, "shapes": [a.shape, b.shape]}
        equal = int((a == b).sum())
        same, voxels, worst = same + equal, voxels + a.size, min(worst, equal / a.size)
    if not voxels:
        return {"cases": 0}
    return {
        "cases": len(cases),
        "missing": len(ours.keys() ^ theirs.keys()),
        "agree": round(same / voxels, 7),
        "differ": voxels - same,
        "worst_case": round(worst, 7),
    }


def dice(masks: Masks, truth: Masks, labels: Mapping[str, int]) -> dict[str, float]:
    """Mean Dice of each label over the cases in which the truth has it."""
    scores: dict[str, list[float]] = {name: [] for name in labels}
    for case in sorted(masks.keys() & truth.keys()):
        a, b = _values(masks[case]), _values(truth[case])
        for name, value in labels.items():
            sizes = int((a == value).sum()) + int((b == value).sum())
            if (b == value).any():
                scores[name].append(2 * int(((a == value) & (b == value)).sum()) / sizes)
    return {name: round(float(np.mean(found)), 4) for name, found in scores.items() if found}


def _values(path: Path) -> NDArray[np.integer]:
    return read_labels(path).data
