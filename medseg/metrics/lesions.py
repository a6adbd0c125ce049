"""Which lesions were found?  Connected components, matched one to one by their overlap.

Rule: components touch over faces, edges or corners (26 neighbours). Pairs of a true and a
predicted component are taken greedily in order of falling IoU, each component at most once,
as long as the IoU is at least `DETECTED_IOU`. Panoptic quality counts pairs above
`PANOPTIC_IOU`, where no component can have two partners (Kirillov et al. 2019,
doi:10.1109/CVPR.2019.00963).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: A lesion counts as found from this overlap on.
DETECTED_IOU = 0.1

#: Overlap above which panoptic quality counts a pair.
PANOPTIC_IOU = 0.5


@dataclass(frozen=True)
class Matches:
    """The outcome of matching components.

    Attributes:
        truth: number of components of the truth.
        prediction: number of components of the prediction.
        ious: IoU of each matched pair, falling.
    """

    truth: int
    prediction: int
    ious: tuple[float, ...]

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
        good = [iou for iou in self.ious if iou > PANOPTIC_IOU]
        return 2 * sum(good) / (self.truth + self.prediction)


def match_lesions(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> Matches:
    """Match the components of two masks on one grid."""
    around = np.ones((3, 3, 3), dtype=bool)
    true_parts, true_count = ndimage.label(truth, around)
    found_parts, found_count = ndimage.label(prediction, around)
    true_sizes = np.bincount(true_parts.ravel(), minlength=true_count + 1)
    found_sizes = np.bincount(found_parts.ravel(), minlength=found_count + 1)
    inside = truth & prediction
    joint = true_parts[inside].astype(np.int64) * (found_count + 1) + found_parts[inside]
    pairs, shared = np.unique(joint, return_counts=True)
    first, second = np.divmod(pairs, found_count + 1)
    ious = shared / (true_sizes[first] + found_sizes[second] - shared)
    return Matches(int(true_count), int(found_count), _greedy(first, second, ious))


def _greedy(
    first: NDArray[np.int64], second: NDArray[np.int64], ious: NDArray[np.float64]
) -> tuple[float, ...]:
    taken_first: set[int] = set()
    taken_second: set[int] = set()
    matched = []
    for pair in np.argsort(-ious, kind="stable"):
        if ious[pair] < DETECTED_IOU:
            break
        one, other = int(first[pair]), int(second[pair])
        if one not in taken_first and other not in taken_second:
            taken_first.add(one)
            taken_second.add(other)
            matched.append(float(ious[pair]))
    return tuple(matched)
