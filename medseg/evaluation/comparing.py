"""Which method is better, and how sure is that?  Paired statistics on the same cases."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Any

import numpy as np
import pandas as pd

from medseg.config import EvaluateConfig
from medseg.errors import BadConfig, BadOutput
from medseg.evaluation.intervals import mean_interval
from medseg.evaluation.paired_tests import holm, paired_test
from medseg.evaluation.scores import Scores
from medseg.metrics import METRICS, Better

#: What is compared where nothing else is asked; all tests of it are one family for Holm.
COMPARED = ("dice", "nsd", "hd95")


@dataclass(frozen=True, eq=False)
class Comparison:
    """The outcome of a comparison.

    Attributes:
        table: one row for each pair of methods, label and metric.
        cases: compared by all.
        left_out: by method, the cases that not all methods were scored on.
        config: of the intervals and tests.
        methods: names in the order given.
    """

    table: pd.DataFrame
    cases: tuple[str, ...]
    left_out: Mapping[str, tuple[str, ...]]
    config: EvaluateConfig
    methods: tuple[str, ...]


def compare(
    evaluations: Mapping[str, Scores],
    *,
    config: EvaluateConfig | None = None,
    metrics: Sequence[str] = COMPARED,
) -> Comparison:
    """Compare every two methods, case by case.

    Args:
        evaluations: at least two, by the name of the method.
        config: of intervals and tests.
        metrics: which; all their tests over all labels and pairs are corrected together.

    Raises:
        BadConfig: fewer than two evaluations, or an unknown metric.
        BadOutput: no case in common, another truth, or another tolerance.
    """
    chosen = config if config is not None else EvaluateConfig()
    if len(evaluations) < 2:
        raise BadConfig("a comparison needs two evaluations", found=len(evaluations))
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise BadConfig("no such metric", found=unknown, expected=", ".join(METRICS))
    common = _common_cases(evaluations)
    _refuse_other_truth(evaluations, common)
    rows = [
        row
        for one, other in itertools.combinations(evaluations, 2)
        for metric in metrics
        for row in _rows(one, other, evaluations, metric, common, chosen)
    ]
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(list(table["p_permutation"]))
    left_out = {
        name: tuple(c for c in scores.cases["case"] if c not in set(common))
        for name, scores in evaluations.items()
    }
    return Comparison(table, common, left_out, chosen, tuple(evaluations))


def _common_cases(evaluations: Mapping[str, Scores]) -> tuple[str, ...]:
    sets = [set(scores.cases["case"]) for scores in evaluations.values()]
    first = next(iter(evaluations.values()))
    common = tuple(case for case in first.cases["case"] if all(case in each for each in sets))
    if not common:
        raise BadOutput(
            "the evaluations have no case in common",
            found={name: len(s.cases) for name, s in evaluations.items()},
            remedy="Compare methods on the same cohort and split.",
        )
    return common


def _refuse_other_truth(evaluations: Mapping[str, Scores], common: Sequence[str]) -> None:
    """The same case must mean the same truth file."""
    seen: dict[str, tuple[str, str]] = {}
    for name, scores in evaluations.items():
        if "truth_sha256" not in scores.cases:
            continue
        sums = scores.cases.set_index("case")["truth_sha256"]
        for case in common:
            told = str(sums[case])
            before = seen.setdefault(case, (name, told))
            if told and before[1] and told != before[1]:
                raise BadOutput(
                    f"case {case!r} was scored against another truth",
                    found=f"{name}: {told[:12]}",
                    expected=f"{before[0]}: {before[1][:12]}",
                    remedy="Evaluate all methods against one cohort.",
                )


def _rows(
    one: str,
    other: str,
    evaluations: Mapping[str, Scores],
    metric: str,
    common: Sequence[str],
    config: EvaluateConfig,
) -> list[dict[str, Any]]:
    tables = [_of_metric(evaluations[name], metric, common) for name in (one, other)]
    paired = tables[0].merge(tables[1], on=["case", "label"], suffixes=("_1", "_2"))
    rows = []
    for label, group in paired.groupby("label", sort=False):
        units = set(group["unit_1"]) | set(group["unit_2"])
        if len(units) > 1:
            raise BadOutput(
                f"{metric} of {label!r} was measured in two ways",
                found=sorted(units),
                remedy="Evaluate all methods with the same tolerance.",
            )
        rows.append(
            {
                "first": one,
                "second": other,
                "label": str(label),
                "metric": metric,
                "unit": units.pop(),
                **_difference(group, metric, config),
            }
        )
    return rows


def _of_metric(scores: Scores, metric: str, common: Sequence[str]) -> pd.DataFrame:
    rows = scores.table[(scores.table["metric"] == metric) & scores.table["case"].isin(common)]
    return rows[["case", "patient", "label", "value", "unit"]]


def _difference(group: pd.DataFrame, metric: str, config: EvaluateConfig) -> dict[str, Any]:
    """Second minus first, over the pairs in which both are defined."""
    defined = group[group["value_1"].notna() & group["value_2"].notna()]
    differences = (defined["value_2"] - defined["value_1"]).to_numpy(dtype=np.float64)
    patients = list(defined["patient_1"])
    known = METRICS[metric]
    span = known.high - known.low
    interval = mean_interval(differences, patients, config, bounds=(-span, span))
    test = paired_test(differences, patients, config)
    return {
        "n": len(defined),
        "patients": interval.patients,
        "mean_first": float(defined["value_1"].mean()) if len(defined) else nan,
        "mean_second": float(defined["value_2"].mean()) if len(defined) else nan,
        "difference": interval.mean,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "p_permutation": test.p_permutation,
        "p_wilcoxon": test.p_wilcoxon,
        "cohen_dz": test.cohen_dz,
        "rank_biserial": test.rank_biserial,
        "second_higher": test.positive,
        "undefined": len(group) - len(defined),
    }


def favoured(row: Mapping[str, Any], level: float) -> str:
    """The method that a row speaks for after correction, or an empty text."""
    p_value, difference = float(row["p_holm"]), float(row["difference"])
    better = METRICS[str(row["metric"])].better
    if isnan(p_value) or p_value > level or better in (Better.NEITHER, Better.ZERO):
        return ""
    second = (difference > 0) == (better is Better.HIGHER)
    return str(row["second"] if second else row["first"])
