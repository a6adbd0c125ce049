"""Lesions that were found: connected components, matched one to one by their overlap.

Rule: components touch over faces, edges or corners (26 neighbours). A true and a predicted
component may be partners from an IoU of `DETECTED_IOU` on; each has one partner at most, and
partners are chosen so that the sum of IoU is largest (of equal sums, the one with more pairs), a
rule that no order of voxels can sway. Panoptic quality counts pairs above `PANOPTIC_IOU`, where
no component can have two partners (Kirillov et al. 2019, doi:10.1109/CVPR.2019.00963).

Ignored voxels belong to no component. A predicted component that touches one may be a lesion
that the truth does not show: it is no false positive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

#: A lesion counts as found from this overlap on.
DETECTED_IOU = 0.1

#: Overlap above which panoptic quality counts a pair.
PANOPTIC_IOU = 0.5

#: What one pair more is worth where two choices have the same sum of IoU.
_PAIR = 1e-9

#: Components that share a face, an edge or a corner are one.
_AROUND = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True)
class Matches:
    """The outcome of matching components.

    Attributes:
        truth: number of components of the truth.
        prediction: number of components of the prediction that are matched or false.
        ious: IoU of each matched pair, falling.
        panoptic_ious: IoU of each pair above `PANOPTIC_IOU`, falling.
    """

    truth: int
    prediction: int
    ious: tuple[float, ...]
    panoptic_ious: tuple[float, ...]

    @property
    def found(self) -> int:
        """Matched pairs."""
        return len(self.ious)

    @property
    def f1(self) -> float:
        """2 found / (components of truth + components of prediction)."""
        return 2 * self.found / (self.truth + self.prediction)

    @property
    def sensitivity(self) -> float:
        """Share of the true components that were found."""
        return self.found / self.truth

    @property
    def false_positives(self) -> int:
        """Predicted components without a partner."""
        return self.prediction - self.found

    @property
    def panoptic_quality(self) -> float:
        """Sum of IoU over pairs above one half, over half the components of both sides."""
        return 2 * sum(self.panoptic_ious) / (self.truth + self.prediction)


def match_lesions(
    truth: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    ignored: NDArray[np.bool_] | None = None,
) -> Matches:
    """Match the components of two masks on one grid.

    Args:
        truth: (X, Y, Z) mask.
        prediction: (X, Y, Z) mask.
        ignored: (X, Y, Z) voxels of which the truth says nothing; neither mask holds any.
    """
    true_parts, true_count = ndimage.label(truth, _AROUND)
    other_parts, other_count = ndimage.label(prediction, _AROUND)
    true_sizes = np.bincount(true_parts.ravel(), minlength=true_count + 1)
    other_sizes = np.bincount(other_parts.ravel(), minlength=other_count + 1)
    inside = truth & prediction
    joint = true_parts[inside].astype(np.int64) * (other_count + 1) + other_parts[inside]
    keys, shared = np.unique(joint, return_counts=True)
    first, second = np.divmod(keys, other_count + 1)
    ious = shared / (true_sizes[first] + other_sizes[second] - shared)
    able = ious >= DETECTED_IOU
    chosen = np.flatnonzero(able)[_partners(first[able], second[able], ious[able])]
    excused = _unmatched_beside(ignored, other_parts, second[chosen])
    return Matches(
        int(true_count),
        int(other_count) - excused,
        _falling(ious[chosen]),
        _falling(ious[ious > PANOPTIC_IOU]),
    )


def _falling(ious: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(sorted((float(iou) for iou in ious), reverse=True))


def _unmatched_beside(
    ignored: NDArray[np.bool_] | None, parts: NDArray[np.integer[Any]], matched: NDArray[np.int64]
) -> int:
    """How many components without a partner touch an ignored voxel."""
    if ignored is None or not ignored.any():
        return 0
    beside = np.unique(parts[ndimage.binary_dilation(ignored, _AROUND)])
    return len(set(beside.tolist()) - {0} - set(matched.tolist()))


def _partners(
    first: NDArray[np.int64], second: NDArray[np.int64], ious: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Which of the possible pairs are partners, each component once."""
    if len(ious) == 0:
        return np.zeros(0, dtype=np.intp)
    rows, columns = (np.unique(side, return_inverse=True)[1] for side in (first, second))
    nodes = rows.max() + columns.max() + 2
    links = coo_array((np.ones(len(ious)), (rows, rows.max() + 1 + columns)), (nodes, nodes))
    group = connected_components(links, directed=False)[1][rows]
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    return np.concatenate(
        [
            pairs[_best(rows[pairs], columns[pairs], ious[pairs])]
            for pairs in np.split(order, starts[1:])
        ]
    )


def _best(
    rows: NDArray[np.intp], columns: NDArray[np.intp], ious: NDArray[np.float64]
) -> NDArray[np.intp]:
    """The best choice among pairs that compete for components."""
    if len(ious) == 1:
        return np.zeros(1, dtype=np.intp)
    rows, columns = (np.unique(side, return_inverse=True)[1] for side in (rows, columns))
    worth = np.zeros((rows.max() + 1, columns.max() + 1))
    worth[rows, columns] = ious + _PAIR
    where = np.full(worth.shape, -1)
    where[rows, columns] = np.arange(len(ious))
    assigned = where[linear_sum_assignment(worth, maximize=True)]
    return np.asarray(assigned[assigned >= 0])
