"""Turns the runs of a study into methods: means over seeds, intervals by patient, paired tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isnan
from typing import Any

import pandas as pd

from medseg.config import EvaluateConfig
from medseg.evaluation import Comparison, Scores, compare, summarise
from medseg.evaluation.scores import MEAN
from study.cells import BY_NAME, REFERENCE
from study.cohorts import StudyCohort
from study.results import Folder
from study.scoring import SCORED

#: A difference over patients that is no larger than that between seeds, or than is known.
UNDECIDED = "a difference that another seed could undo"

#: Seeds from which on the paired test over patients is taken as it stands.
ENOUGH_SEEDS = 3


@dataclass(frozen=True)
class Outcome:
    """A figure with its interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        digits = 2 if self.mean > 2 else 3
        if isnan(self.mean):
            return "–"
        if isnan(self.low):
            return f"{self.mean:.{digits}f}"
        return f"{self.mean:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


@dataclass(frozen=True, eq=False)
class Findings:
    """All finished runs of one cohort.

    Attributes:
        folder: of the results.
        cohort: prepared.
        seeds: that were asked for.
    """

    folder: Folder
    cohort: StudyCohort
    seeds: int

    def finished(self, cell: str) -> list[int]:
        """The seeds of a cell that are finished."""
        return [s for s in range(self.seeds) if self.folder.facts(self.cohort.name, cell, s)]

    @cached_property
    def cells(self) -> list[str]:
        """The cells with scores, in the order of the study."""
        return [
            name
            for name, cell in BY_NAME.items()
            if cell.network != "classifier" and self.finished(name)
        ]

    def facts(self, cell: str, seed: int = 0) -> dict[str, Any]:
        """What the run says of itself; empty where it is not finished."""
        return self.folder.facts(self.cohort.name, cell, seed) or {}

    def probe(self, name: str) -> dict[str, Any]:
        """What a probe measured; empty where it was not run."""
        return self.facts(f"probe_{name}")

    @cached_property
    def scores(self) -> dict[str, Scores]:
        """Per cell: each case's value averaged over the seeds."""
        return {cell: self._averaged(cell) for cell in self.cells}

    def _averaged(self, cell: str) -> Scores:
        tables = [self.folder.scores(self.cohort.name, cell, seed) for seed in self.finished(cell)]
        rows = pd.concat([table for table in tables if table is not None])
        keys = ["case", "patient", "label", "metric", "unit", "note"]
        table = rows.fillna({"unit": "", "note": ""}).groupby(keys, sort=False, as_index=False)
        means = table["value"].mean()[
            ["case", "patient", "label", "metric", "value", "unit", "note"]
        ]
        cases = means[["case", "patient"]].drop_duplicates(ignore_index=True)
        cases["status"] = "scored"
        return Scores(means, cases, EvaluateConfig(tolerance_mm=self.cohort.tolerance_mm))

    @cached_property
    def summaries(self) -> dict[str, pd.DataFrame]:
        """Per cell: mean and interval of every metric, over the mean of the labels."""
        return {cell: summarise(scores) for cell, scores in self.over_labels.items()}

    @cached_property
    def over_labels(self) -> dict[str, Scores]:
        """Per cell: the mean over the labels of each case alone."""
        return {
            cell: Scores(s.table[s.table["label"] == MEAN], s.cases, s.config)
            for cell, s in self.scores.items()
        }

    def outcome(self, cell: str, metric: str) -> Outcome:
        """Mean over the cases with the interval by patient."""
        table = self.summaries[cell]
        row = table[table["metric"] == metric].iloc[0]
        return Outcome(float(row["mean"]), float(row["ci_low"]), float(row["ci_high"]))

    def between(self, one: str, other: str, metric: str = "dice") -> dict[str, Any] | None:
        """The paired comparison of two cells, corrected over the metrics."""
        if one not in self.scores or other not in self.scores:
            return None
        two = {cell: self.over_labels[cell] for cell in (other, one)}
        found = compare(two, metrics=SCORED).table
        return {str(k): v for k, v in found[found["metric"] == metric].iloc[0].items()}

    def seed_spread(self, cell: str) -> float:
        """Largest minus smallest mean Dice over the seeds."""
        values = [float(self.facts(cell, seed)["dice"]) for seed in self.finished(cell)]
        return max(values) - min(values) if len(values) > 1 else float("nan")

    @cached_property
    def noise(self) -> float:
        """The largest spread of mean Dice between seeds of one cell; NaN where none has two."""
        spreads = [self.seed_spread(cell) for cell in self.cells if len(self.finished(cell)) > 1]
        return max(spreads, default=float("nan"))

    @cached_property
    def comparison(self) -> Comparison | None:
        """Every cell against the U-Net on the mean over labels; all tests corrected together."""
        if REFERENCE not in self.scores or len(self.scores) < 2:
            return None
        config = EvaluateConfig(tolerance_mm=self.cohort.tolerance_mm)
        return compare(self.over_labels, config=config, metrics=SCORED, reference=REFERENCE)

    def against(self, cell: str, metric: str = "dice") -> dict[str, Any] | None:
        """The paired comparison with the U-Net: difference, interval, corrected p."""
        if cell == REFERENCE or self.comparison is None or cell not in self.scores:
            return None
        table = self.comparison.table
        row = table[(table["second"] == cell) & (table["metric"] == metric)]
        return None if row.empty else {str(k): v for k, v in row.iloc[0].items()}

    def verdict(self, cell: str, metric: str = "dice") -> str:
        """In words: better or worse than the U-Net, or no difference shown."""
        row = self.against(cell, metric)
        if row is None:
            return "not compared"
        p, change = float(row["p_holm"]), float(row["difference"])
        if isnan(p) or p > 0.05:
            return "no difference shown"
        if self.is_within_noise(cell):
            return UNDECIDED
        higher = change > 0
        return "better" if higher == (metric != "hd95") else "worse"

    def is_few(self, *cells: str) -> bool:
        """Whether one of the cells has too few seeds for its patients to speak for it."""
        return min(len(self.finished(cell)) for cell in cells) < ENOUGH_SEEDS

    def is_within_noise(self, cell: str) -> bool:
        """Whether a cell of few seeds differs from the U-Net by no more than seeds do."""
        row = self.against(cell)
        few = self.is_few(cell, REFERENCE)
        return row is not None and few and not abs(float(row["difference"])) > self.noise

    def versus(self, cell: str, metric: str = "dice") -> str:
        """Difference, interval and corrected p, for a table."""
        row = self.against(cell, metric)
        if row is None:
            return ""
        p = float(row["p_holm"])
        chance = "p < 0.001" if p < 0.001 else f"p {p:.3f}"
        return f"{difference(row)}, {chance}"


def difference(row: Mapping[str, Any], digits: int = 3) -> str:
    """A difference with its interval, where there is one."""
    mean, low, high = (float(row[key]) for key in ("difference", "ci_low", "ci_high"))
    if isnan(low):
        return f"{mean:+.{digits}f}"
    return f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"
