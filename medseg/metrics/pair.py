"""Truth and prediction of one structure, and what several metrics need of the two."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from medseg.metrics.counts import Counts
from medseg.metrics.lesions import Matches, match_lesions
from medseg.metrics.surface import SurfaceDistances, surface_distances


@dataclass(frozen=True, eq=False)
class Pair:
    """Truth and prediction of one structure, cropped or not; nothing of it lies outside.

    What several metrics need is computed once, when the first of them asks.

    Attributes:
        truth: (X, Y, Z) mask.
        prediction: (X, Y, Z) mask on the same grid.
        steps_mm: (3, 3) one voxel step along each array axis, one a column, in mm; a
            diagonal of spacings, or any affine's upper left part (sheared grids too).
        tolerance_mm: distance up to which surfaces count as agreeing.
        counts: voxels shared and not.
        ignored: (X, Y, Z) voxels of which the truth says nothing, or ``None``; neither mask
            holds any of them.
    """

    truth: NDArray[np.bool_]
    prediction: NDArray[np.bool_]
    steps_mm: NDArray[np.float64]
    tolerance_mm: float
    counts: Counts
    ignored: NDArray[np.bool_] | None = None

    @cached_property
    def voxel_ml(self) -> float:
        """Volume of a voxel, in ml."""
        return float(abs(np.linalg.det(self.steps_mm))) / 1000.0

    @cached_property
    def surfaces(self) -> SurfaceDistances:
        """Distances between the two surfaces."""
        return surface_distances(self.truth, self.prediction, self.steps_mm, self.ignored)

    @cached_property
    def lesions(self) -> Matches:
        """Which connected component of the truth is found by which of the prediction."""
        return match_lesions(self.truth, self.prediction, self.ignored)
