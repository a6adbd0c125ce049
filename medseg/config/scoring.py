"""How predictions are scored, and how intervals are made."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medseg.config.checking import Options

#: Surfaces this near agree (NSD), where nothing else is said.
TOLERANCE_MM = 1.0


class EvaluateConfig(Options):
    """How predictions are scored and what is said of the scores.

    Attributes:
        tolerance_mm: surfaces this near agree (NSD).
        tolerances_mm: the same for single labels, by name.
        confidence: level of intervals.
        interval: how intervals of means are made. ``auto`` takes, for metrics with a least and a
            greatest value, the bounded interval up to 39 patients, which allows for failures that
            nobody has seen; else the studentised bootstrap over patients.
        resamples: bootstrap samples; sign flips where not all can be counted, or more where many
            tests are corrected together.
        seed: of the resampling.
        other_grid: what to do with a prediction that is not on the truth's grid.
        leakage: what to do when the model was trained on what it is scored on.
    """

    tolerance_mm: float = Field(default=TOLERANCE_MM, ge=0)
    tolerances_mm: dict[str, float] = Field(default_factory=dict)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    interval: Literal["auto", "studentised", "bca"] = "auto"
    resamples: int = Field(default=5000, ge=100)
    seed: int = 0
    other_grid: Literal["refuse", "nearest"] = "refuse"
    leakage: Literal["refuse", "tell"] = "refuse"
