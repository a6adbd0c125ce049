"""What an evaluation leaves: a tidy table of scores, one row a case, and what was compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from medseg.config import EvaluateConfig, load_yaml, validate
from medseg.errors import BadOutput
from medseg.writers.atomic import atomic_path

#: Columns of ``scores.csv``.
COLUMNS = ("case", "patient", "label", "metric", "value", "unit", "note")

#: The row of a case over its defined labels.
MEAN = "mean"

#: States of a case in ``cases.csv``.
SCORED, MISSING, REFUSED, UNSCORED = "scored", "missing", "refused", "unscored"

SCORES_FILE, CASES_FILE, ABOUT_FILE = "scores.csv", "cases.csv", "evaluation.yaml"


@dataclass(frozen=True, eq=False)
class Scores:
    """The outcome of an evaluation.

    Attributes:
        table: tidy, columns `COLUMNS`; ``value`` is NaN where undefined.
        cases: one row a case: case, patient, fold, status, reason, checksums, covariates.
        config: tolerances, confidence and how intervals are made.
        about: what was evaluated: cohort, predictions, model, versions, labels, extras.
    """

    table: pd.DataFrame
    cases: pd.DataFrame
    config: EvaluateConfig = field(default_factory=EvaluateConfig)
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels and regions in the order of the table, without the mean."""
        return tuple(name for name in self.table["label"].unique() if name != MEAN)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics in the order of the table."""
        return tuple(self.table["metric"].unique())

    def with_status(self, status: str) -> tuple[str, ...]:
        """The cases of a status."""
        return tuple(self.cases.loc[self.cases["status"] == status, "case"])

    def values(self, metric: str) -> pd.DataFrame:
        """One row a case and one column a label: the values of a metric."""
        rows = self.table[self.table["metric"] == metric]
        wide = rows.pivot(index="case", columns="label", values="value")
        return wide.reindex(index=self.cases["case"], columns=list(rows["label"].unique()))


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a CSV whose numbers read back to the same bits; undefined values are empty."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def write_scores(scores: Scores, folder: Path) -> None:
    """Write ``scores.csv``, ``cases.csv`` and ``evaluation.yaml``."""
    write_table(scores.table, folder / SCORES_FILE)
    write_table(scores.cases, folder / CASES_FILE)
    about = {"config": scores.config.model_dump(mode="json"), "about": dict(scores.about)}
    with atomic_path(folder / ABOUT_FILE) as temporary:
        temporary.write_text(
            yaml.safe_dump(about, sort_keys=False, allow_unicode=True), encoding="utf-8"
        )


def read_scores(folder: Path) -> Scores:
    """Read what `write_scores` wrote.

    Raises:
        BadOutput: the folder holds no evaluation.
    """
    path = folder / SCORES_FILE
    if not path.is_file():
        raise BadOutput(
            "no evaluation here",
            path=folder,
            expected=f"a folder with {SCORES_FILE}",
            remedy="Name the --output of medseg evaluate.",
        )
    texts = {name: str for name in COLUMNS if name != "value"}
    table = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values={"value": [""]})
    absent = [name for name in COLUMNS if name not in table.columns]
    if absent:
        raise BadOutput(
            "the scores lack columns", path=path, found=list(table.columns), expected=list(COLUMNS)
        )
    table["value"] = table["value"].astype(float)
    cases = folder / CASES_FILE
    if cases.is_file():
        rows = pd.read_csv(cases, dtype=str, keep_default_na=False)
    else:
        rows = table[["case", "patient"]].drop_duplicates(ignore_index=True)
        rows["status"] = SCORED
    facts = load_yaml(folder / ABOUT_FILE) if (folder / ABOUT_FILE).is_file() else {}
    config = validate(EvaluateConfig, facts.get("config", {}), path=str(folder / ABOUT_FILE))
    return Scores(table, rows, config, facts.get("about", {}))
