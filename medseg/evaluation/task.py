"""What scoring one case needs, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medseg.config import EvaluateConfig
from medseg.labels import LabelTable
from medseg.manifests import Case, Cohort

#: Between the warnings of a case in ``cases.csv``.
BETWEEN_WARNINGS = " | "

#: Case, patient, label, metric, value, unit and note: a row of ``scores.csv``.
Row = tuple[str, str, str, str, float, str, str]


@dataclass(frozen=True, eq=False)
class Task:
    """All that scoring one case needs; small, so that it travels to another process.

    Attributes:
        cohort: with this case alone.
        prediction: the mask, or ``None`` where there is none.
        labels: what the prediction's values mean.
        training_pixels: scans that trained the model; empty asks nothing.
        model_scans: folder that holds what these are recognised by when they were saved again,
            or ``None``.
        config: tolerances, and what to do with other grids.
    """

    cohort: Cohort
    prediction: Path | None
    labels: LabelTable
    training_pixels: frozenset[str]
    config: EvaluateConfig
    model_scans: Path | None = None

    @property
    def case(self) -> Case:
        """The one case."""
        return self.cohort.cases[0]


@dataclass(frozen=True, eq=False)
class Outcome:
    """The scores of one case.

    Attributes:
        rows: of the tidy table.
        status: scored, missing, refused (the prediction) or unscored (the truth).
        reason: why not scored, or what was done to score it.
        facts: checksums, and under ``warnings`` what the readers accepted of truth and
            prediction, and a person should know.
        leaked: whether the scan's pixels trained the model.
        look: what the scan is recognised by, where the model says that of its training scans.
    """

    rows: tuple[Row, ...]
    status: str
    reason: str
    facts: dict[str, str]
    leaked: bool
    look: bytes = b""
