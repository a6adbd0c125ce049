"""What an evaluation leaves: a tidy table of scores, one row a case, and what was compared."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isinf, nan
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pandas.api.types import is_numeric_dtype

from medseg.config import EvaluateConfig, load_yaml, validate
from medseg.config.kinds import kind_of
from medseg.errors import BadOutput
from medseg.tables import inert, read_csv
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

    def at(self, predictions: Path, truths: Path, root: Path | None, *, beside: Path) -> Scores:
        """The same scores, which say where their masks lie, relative to the evaluation's folder.

        Args:
            predictions: folder or mask.
            truths: card, folder or mask.
            root: where the card's paths start, if not where it says.
            beside: the evaluation's folder.
        """
        named = {"predictions": predictions, "truths": truths, "root": root}
        places = {
            name: Path(os.path.relpath(path, beside)).as_posix()
            for name, path in named.items()
            if path is not None
        }
        return replace(self, about={**self.about, "places": places})

    def with_status(self, status: str) -> tuple[str, ...]:
        """The cases of a status."""
        return tuple(self.cases.loc[self.cases["status"] == status, "case"])

    def values(self, metric: str) -> pd.DataFrame:
        """One row a case and one column a label: the values of a metric."""
        rows = self.table[self.table["metric"] == metric]
        wide = rows.pivot(index="case", columns="label", values="value")
        return wide.reindex(index=self.cases["case"], columns=list(rows["label"].unique()))


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a CSV whose numbers read back to the same bits; undefined values are empty.

    Texts that a spreadsheet would run as formulas are made inert.
    """
    with atomic_path(path) as temporary:
        safe = table.rename(columns=inert)
        for name, column in table.items():
            if not is_numeric_dtype(column):
                cells = [inert(cell) if isinstance(cell, str) else cell for cell in column]
                safe[inert(str(name))] = pd.Series(cells, table.index, dtype=object)
        safe.to_csv(temporary, index=False, lineterminator="\n")


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
            found=kind_of(folder),
            expected=f"a folder with {SCORES_FILE}",
            remedy="Name the --output of medseg evaluate.",
        )
    table = _texts(path, COLUMNS)
    table["value"] = [_value(text, path) for text in table["value"]]
    twice = table[table.duplicated(["case", "label", "metric"])]
    if len(twice):
        first = twice.iloc[0]
        raise BadOutput(
            "one score occurs twice",
            path=path,
            found=f"{first['metric']} of {first['label']} in {first['case']}",
            expected="one row per case, label and metric",
        )
    if (folder / CASES_FILE).is_file():
        rows = _texts(folder / CASES_FILE, ("case", "patient", "status"))
    else:
        rows = table[["case", "patient"]].drop_duplicates(ignore_index=True)
        rows["status"] = SCORED
    about = folder / ABOUT_FILE
    facts = load_yaml(about) if about.is_file() else {}
    config = validate(EvaluateConfig, facts.get("config", {}), path=str(about))
    more = facts.get("about", {})
    if not isinstance(more, dict):
        raise BadOutput("`about` is not a mapping", path=about, found=repr(more)[:80])
    return Scores(table, rows, config, more)


def _texts(path: Path, wanted: Sequence[str]) -> pd.DataFrame:
    """A table of texts that has the wanted columns, and perhaps others."""
    columns, rows = read_csv(path, refusal=BadOutput)
    absent = [name for name in wanted if name not in columns]
    if absent:
        raise BadOutput(
            "the table lacks columns",
            path=path,
            found=", ".join(columns) or "no columns",
            expected=", ".join(wanted),
        )
    return pd.DataFrame([row.cells for row in rows], columns=list(columns), dtype=object)


def _value(text: str, path: Path) -> float:
    """A score; NaN where it is undefined."""
    try:
        score = float(text) if text else nan
    except ValueError:
        score = inf
    if isinf(score):
        raise BadOutput("a score is no number", path=path, found=repr(text)[:60])
    return score
