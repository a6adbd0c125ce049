"""Pairs two methods' values of one label and metric, case by case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import pandas as pd

from medseg.errors import BadOutput
from medseg.evaluation.scores import Scores


@dataclass(frozen=True, eq=False)
class Pairing:
    """Two methods' values of one label and metric, case by case.

    Attributes:
        first, second: names of the methods.
        label: of the structure.
        metric: its name.
        unit: as both evaluations give it.
        defined: case, patient, value_1 and value_2 of the cases in which both are defined.
        undefined: how many cases are left out for that.
    """

    first: str
    second: str
    label: str
    metric: str
    unit: str
    defined: pd.DataFrame
    undefined: int

    @property
    def patients(self) -> list[str]:
        """Of each case."""
        return list(self.defined["patient_1"])

    @property
    def fingerprint(self) -> tuple[str, ...] | None:
        """Equal for the same test under another label, such as the mean of one label.

        ``None`` where there are too few patients for a test.
        """
        if self.defined["patient_1"].nunique() < 2:
            return None
        columns = (self.defined[name].to_numpy() for name in ("case", "value_1", "value_2"))
        return self.first, self.second, self.metric, *(repr(column.tolist()) for column in columns)


def pairings_of(
    one: str, other: str, tables: Mapping[str, pd.DataFrame], metric: str
) -> list[Pairing]:
    """Two methods' values of a metric, one pairing a label.

    Raises:
        BadOutput: they were measured with different tolerances.
    """
    first, second = (tables[name][tables[name]["metric"] == metric] for name in (one, other))
    paired = first.merge(second, on=["case", "label"], suffixes=("_1", "_2"))
    pairings = []
    for label, group in paired.groupby("label", sort=False):
        units = set(group["unit_1"]) | set(group["unit_2"])
        if len(units) > 1:
            raise BadOutput(
                f"{metric} of {label!r} was measured in two ways",
                found=sorted(units),
                remedy="Evaluate all methods with the same tolerance.",
            )
        defined = group[group["value_1"].notna() & group["value_2"].notna()]
        undefined = len(group) - len(defined)
        pairings.append(Pairing(one, other, str(label), metric, units.pop(), defined, undefined))
    return pairings


def values_of(scores: Scores, common: Sequence[str], labels: Set[str]) -> pd.DataFrame:
    """A method's values of the cases and labels that all methods were scored on."""
    table = scores.table
    rows = table[table["case"].isin(common) & table["label"].isin(labels)]
    return rows[["case", "patient", "label", "metric", "value", "unit"]].copy()


def group_alike(tables: Mapping[str, pd.DataFrame]) -> None:
    """Give every table the patients of the one that knows the most scans to be of one person."""
    knowing = min(tables.values(), key=lambda table: table["patient"].nunique())
    patients = dict(zip(knowing["case"], knowing["patient"], strict=True))
    for table in tables.values():
        table["patient"] = table["case"].map(patients)
