"""What must be known of a metric to read its figures: unit, direction, range, empty masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import nan

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medseg.config import TOLERANCE_MM
from medseg.geometry.precision import COUNT_PRECISION, HEADER_PRECISION
from medseg.metrics.counts import counts_of_masks
from medseg.metrics.empty_masks import Empty, EmptyRule
from medseg.metrics.pair import Pair


class Better(StrEnum):
    """Which figures are good ones."""

    HIGHER = "higher"
    LOWER = "lower"
    ZERO = "nearer to zero"
    NEITHER = "neither"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One entry of the table.

    Attributes:
        name: column of tables.
        title: what people call it; Metrics Reloaded's name where it has one.
        unit: ``""`` for ratios; ``mm``, ``ml``; ``tolerance`` puts the tolerance there.
        better: which figures are good ones.
        low: least value that is possible.
        high: greatest value that is possible.
        empty: what empty masks give.
        source: where it is defined.
        formula: called only where `empty` says so.
    """

    name: str
    title: str
    unit: str
    better: Better
    low: float
    high: float
    empty: EmptyRule
    source: str
    formula: Callable[[Pair], float]

    @property
    def missing(self) -> float:
        """Value of a structure that is there but whose prediction is missing."""
        return 0.0 if self.empty.prediction is Empty.ZERO else nan

    @property
    def precision(self) -> float:
        """Relative difference below which two figures are equal but for rounding."""
        return COUNT_PRECISION if self.unit in ("", "lesions") else HEADER_PRECISION

    def value(self, pair: Pair) -> float:
        """The figure of a pair, by the formula or by the rule for empty masks."""
        counts = pair.counts
        rule = self.empty.of(truth=counts.truth > 0, prediction=counts.prediction > 0)
        if rule is Empty.FORMULA:
            return self.formula(pair)
        return 0.0 if rule is Empty.ZERO else nan

    def compute(
        self,
        truth: NDArray[np.bool_],
        prediction: NDArray[np.bool_],
        spacing_mm: ArrayLike,
        *,
        tolerance_mm: float = TOLERANCE_MM,
    ) -> float:
        """The figure of two masks.

        Args:
            truth: (X, Y, Z) mask.
            prediction: (X, Y, Z) mask on the same grid.
            spacing_mm: three spacings, or the (3, 3) steps of a sheared grid.
            tolerance_mm: for surface metrics that have one.

        A rod of 4 voxels of 2 mm^3, predicted one voxel too long:

        >>> import numpy as np
        >>> from medseg.metrics import METRICS
        >>> truth, prediction = np.zeros((9, 3, 3), bool), np.zeros((9, 3, 3), bool)
        >>> truth[2:6, 1, 1] = prediction[2:7, 1, 1] = True
        >>> round(METRICS["dice"].compute(truth, prediction, (2, 1, 1)), 3)
        0.889
        >>> METRICS["hd"].compute(truth, prediction, (2, 1, 1))
        2.0
        >>> METRICS["volume_error_ml"].compute(truth, prediction, (2, 1, 1))
        0.002
        """
        steps = np.asarray(spacing_mm, dtype=np.float64)
        steps = np.diag(steps) if steps.ndim == 1 else steps
        masks = truth.astype(bool), prediction.astype(bool)
        return self.value(Pair(*masks, steps, tolerance_mm, counts_of_masks(*masks)))

    def unit_at(self, tolerance_mm: float) -> str:
        """The unit column: the unit, or the tolerance where the metric has one."""
        return f"{tolerance_mm:g} mm" if self.unit == "tolerance" else self.unit
