"""Cleaning rules worth trying: those that the truths themselves suggest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.config import PostprocessRule
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.manifests import Case

#: Components smaller than these shares of the smallest true structure may be mistakes.
SMALL_SHARES = (0.02, 0.1, 0.5)

#: Gaps as wide as this many of the coarsest voxels may be closed.
CLOSING_VOXELS = (1, 2)

#: Labels that a label may be bound to, at most.
MOST_PARTNERS = 3

_TOUCHING = np.ones((3, 3, 3), dtype=bool)


def propose(
    truths: Iterable[tuple[Case, Geometry, NDArray[Any]]], labels: LabelTable
) -> dict[str, list[PostprocessRule]]:
    """Rules to try for each label that occurs, by its name.

    Args:
        truths: case, grid and values of each.
        labels: what the values mean.
    """
    smallest: dict[str, float] = {}
    partners: dict[str, set[str]] = {}
    spacings = []
    for case, grid, truth in truths:
        spacings.append(max(grid.spacing_mm))
        counts = np.bincount(truth.ravel(), minlength=max(labels.values) + 1)
        for label in labels.labels:
            ml = float(counts[label.value]) * grid.voxel_ml
            if ml == 0 or not case.annotates(label.name):
                continue
            smallest[label.name] = min(ml, smallest.get(label.name, ml))
            beside = _neighbours(truth, label.value, labels)
            partners[label.name] = partners.get(label.name, beside) & beside
    coarsest = float(np.median(spacings)) if spacings else 0.0
    return {
        name: _of_label(name, smallest[name], sorted(partners[name]), coarsest) for name in smallest
    }


def _of_label(
    name: str, smallest_ml: float, partners: list[str], coarsest_mm: float
) -> list[PostprocessRule]:
    return [
        *(PostprocessRule(rule="keep_largest", label=name, count=count) for count in (1, 2)),
        *(
            PostprocessRule(rule="remove_small", label=name, ml=_neat(share * smallest_ml))
            for share in SMALL_SHARES
        ),
        *(
            PostprocessRule(rule="inside", label=name, of=partner)
            for partner in partners[:MOST_PARTNERS]
        ),
        PostprocessRule(rule="fill_holes", label=name),
        *(
            PostprocessRule(rule="close", label=name, mm=_neat(voxels * coarsest_mm))
            for voxels in CLOSING_VOXELS
        ),
    ]


def _neighbours(truth: NDArray[Any], value: int, labels: LabelTable) -> set[str]:
    """Names of the labels that lie against one."""
    box = ndimage.find_objects(truth, max_label=value)[value - 1]
    wide = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in box)
    part = truth[wide]
    around = set(np.unique(part[ndimage.binary_dilation(part == value, _TOUCHING)]).tolist())
    return {label.name for label in labels.labels if label.value in around - {value}}


def _neat(value: float) -> float:
    """Three significant digits."""
    return float(f"{value:.3g}")
