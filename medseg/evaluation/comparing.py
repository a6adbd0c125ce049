"""Paired statistics between methods on the same cases."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from typing import Any

import numpy as np
import pandas as pd

from medseg.config import EvaluateConfig
from medseg.errors import BadConfig, BadOutput
from medseg.evaluation.intervals import mean_interval
from medseg.evaluation.paired_tests import holm, paired_test
from medseg.evaluation.paired_values import Pairing, group_alike, pairings_of, values_of
from medseg.evaluation.scores import MEAN, Scores
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
        labels_left_out: by method, the labels that not all methods were scored on; where there
            are any, means over labels are means of different things and are not compared.
        config: of the intervals and tests.
        methods: names in the order given.
        family: different tests that are corrected together.
    """

    table: pd.DataFrame
    cases: tuple[str, ...]
    left_out: Mapping[str, tuple[str, ...]]
    labels_left_out: Mapping[str, tuple[str, ...]]
    config: EvaluateConfig
    methods: tuple[str, ...]
    family: int

    @property
    def level(self) -> float:
        """The p value up to which a difference is called significant."""
        return 1 - self.config.confidence

    @property
    def p_least(self) -> float:
        """The smallest corrected p that the best of the tests could have reached; NaN: no test."""
        return float(self.table["p_smallest"].min()) * self.family if len(self.table) else nan

    @property
    def hopeless(self) -> bool:
        """Whether no data whatever could have made any difference of the page significant."""
        return not self.p_least <= self.level


def compare(
    evaluations: Mapping[str, Scores],
    *,
    config: EvaluateConfig | None = None,
    metrics: Sequence[str] = COMPARED,
    reference: str | None = None,
) -> Comparison:
    """Compare every two methods, case by case, or each with one of them.

    Args:
        evaluations: at least two, by the name of the method.
        config: of intervals and tests.
        metrics: which; all their tests over all labels and pairs are corrected together.
        reference: the method that every other is compared with; ``None`` compares all pairs.

    Raises:
        BadConfig: fewer than two evaluations, an unknown metric or an unknown reference.
        BadOutput: no case, or no label and metric in common, another truth or tolerance.
    """
    chosen = config if config is not None else EvaluateConfig()
    _check_choices(evaluations, metrics, reference)
    common = _common_cases(evaluations)
    _refuse_other_truth(evaluations, common)
    shared = set.intersection(*(set(scores.labels) for scores in evaluations.values()))
    other_labels = {
        name: tuple(label for label in scores.labels if label not in shared)
        for name, scores in evaluations.items()
    }
    compared = shared if any(other_labels.values()) else {*shared, MEAN}
    tables = {name: values_of(scores, common, compared) for name, scores in evaluations.items()}
    group_alike(tables)
    pairings = _all_pairings(evaluations, tables, metrics, reference)
    tests = [pairing.fingerprint for pairing in pairings]
    family = len({test for test in tests if test is not None})
    table = pd.DataFrame([_row(pairing, chosen, family) for pairing in pairings])
    table["p_holm"] = _corrected(tests, list(table["p_permutation"]))
    left_out = {
        name: tuple(c for c in scores.cases["case"] if c not in set(common))
        for name, scores in evaluations.items()
    }
    return Comparison(table, common, left_out, other_labels, chosen, tuple(evaluations), family)


def _check_choices(
    evaluations: Mapping[str, Scores], metrics: Sequence[str], reference: str | None
) -> None:
    if len(evaluations) < 2:
        raise BadConfig("a comparison needs two evaluations", found=len(evaluations))
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise BadConfig("no such metric", found=unknown, expected=", ".join(METRICS))
    if reference is not None and reference not in evaluations:
        raise BadConfig("no such method", found=reference, expected=", ".join(evaluations))


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
            digest = str(sums[case])
            before = seen.setdefault(case, (name, digest))
            if digest and before[1] and digest != before[1]:
                raise BadOutput(
                    f"case {case!r} was scored against another truth",
                    found=f"{name}: {digest[:12]}",
                    expected=f"{before[0]}: {before[1][:12]}",
                    remedy="Evaluate all methods against one cohort.",
                )


def _all_pairings(
    evaluations: Mapping[str, Scores],
    tables: Mapping[str, pd.DataFrame],
    metrics: Sequence[str],
    reference: str | None,
) -> list[Pairing]:
    """Of every two methods, or of every other one with the reference, in each metric."""
    if reference is None:
        methods = list(itertools.combinations(evaluations, 2))
    else:
        methods = [(reference, name) for name in evaluations if name != reference]
    pairings = [
        pairing
        for one, other in methods
        for metric in dict.fromkeys(metrics)
        for pairing in pairings_of(one, other, tables, metric)
    ]
    if not pairings:
        raise BadOutput(
            "the evaluations have no label and metric in common",
            found={
                n: f"{', '.join(s.labels)}: {', '.join(s.metrics)}" for n, s in evaluations.items()
            },
            expected=f"one of {', '.join(metrics)} of one label in each",
            remedy="Evaluate all methods with the same labels, or choose another --metric.",
        )
    return pairings


def _corrected(tests: Sequence[tuple[str, ...] | None], p_values: Sequence[float]) -> list[float]:
    """Holm's correction over the different tests; a test under two labels counts once."""
    by_test = {test: p for test, p in zip(tests, p_values, strict=True) if test is not None}
    corrected = dict(zip(by_test, holm(list(by_test.values())), strict=True))
    return [nan if test is None else float(corrected[test]) for test in tests]


def _row(pairing: Pairing, config: EvaluateConfig, family: int) -> dict[str, Any]:
    """Second minus first, over the cases in which both are defined."""
    first, second = (
        pairing.defined[name].to_numpy(dtype=np.float64) for name in ("value_1", "value_2")
    )
    metric = METRICS[pairing.metric]
    span = metric.high - metric.low
    unit = metric.precision * max(np.abs(first).max(initial=0), np.abs(second).max(initial=0))
    differences = np.where(np.abs(second - first) <= unit, 0.0, second - first)
    bootstrap = config if config.interval != "auto" else _studentised(config)
    interval = mean_interval(differences, pairing.patients, bootstrap, bounds=(-span, span))
    if interval.low == interval.high != 0:  # equal differences say nothing of their spread
        interval = replace(interval, low=nan, high=nan)
    test = paired_test(differences, pairing.patients, config, family=family, unit=unit)
    return {
        "first": pairing.first,
        "second": pairing.second,
        "label": pairing.label,
        "metric": pairing.metric,
        "unit": pairing.unit,
        "n": len(pairing.defined),
        "patients": interval.patients,
        "mean_first": float(first.mean()) if len(first) else nan,
        "mean_second": float(second.mean()) if len(second) else nan,
        "difference": interval.mean,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "p_permutation": test.p_permutation,
        "p_smallest": test.p_smallest,
        "p_wilcoxon": test.p_wilcoxon,
        "cohen_dz": test.cohen_dz,
        "rank_biserial": test.rank_biserial,
        "second_higher": test.positive,
        "undefined": pairing.undefined,
    }


def _studentised(config: EvaluateConfig) -> EvaluateConfig:
    """Differences have no worst value that anybody expects: only the bootstrap is left."""
    return config.model_copy(update={"interval": "studentised"})


def favoured(row: Mapping[str, Any], level: float) -> str:
    """The method that a row speaks for after correction, or an empty text."""
    p_value, difference = float(row["p_holm"]), float(row["difference"])
    better = METRICS[str(row["metric"])].better
    if isnan(p_value) or p_value > level or better in (Better.NEITHER, Better.ZERO):
        return ""
    second = (difference > 0) == (better is Better.HIGHER)
    return str(row["second"] if second else row["first"])


def power_line(comparison: Comparison) -> str:
    """What the number of patients allows, in words."""
    patients, family = int(comparison.table["patients"].max()), comparison.family
    if family == 0:
        return f"Too few patients for any test: {patients} with values of both methods."
    tests = "1 test" if family == 1 else f"{family} different tests, corrected together"
    least = f"The smallest p (Holm) that {patients} patients could have reached in {tests}"
    if not comparison.hopeless:
        return f"{least}, is {comparison.p_least:.2g}."
    needed = patients
    while 2 / 2**needed * family > comparison.level:
        needed += 1
    return (
        f"Too few patients: {least[0].lower()}{least[1:]}, is {min(comparison.p_least, 1):.2g}, so "
        f"no data could have shown a difference at {comparison.level:.2g}. At least {needed} "
        "patients are needed, or fewer labels, metrics and methods."
    )
