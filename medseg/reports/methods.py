"""``methods.md``: a paragraph for a paper, with versions, definitions and citations."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from medseg.evaluation import Scores
from medseg.evaluation.error_ranking import GOOD_DICE
from medseg.evaluation.intervals import FEW_PATIENTS, MANY_PATIENTS
from medseg.evaluation.scores import MISSING, REFUSED, UNSCORED
from medseg.evaluation.tables import PAPER_METRICS
from medseg.metrics import METRICS

#: What the paragraph rests on, in the order of its mention.
_SOURCES = {
    "reloaded": "Maier-Hein et al. Metrics reloaded. doi:10.1038/s41592-023-02151-z",
    "surfels": "Nikolov et al. 2021, surfel-based surface metrics. doi:10.2196/26151",
    "bootstrap": "Davison & Hinkley. Bootstrap methods and their application. "
    "doi:10.1017/CBO9780511802843",
    "bounded": "Learned-Miller & Thomas. A new confidence interval for the mean of a bounded "
    "random variable. doi:10.48550/arXiv.1905.06208",
    "bca": "Efron. Better bootstrap confidence intervals. doi:10.1080/01621459.1987.10478410",
    "selective": "Geifman, Uziel & El-Yaniv 2019. Bias-reduced uncertainty estimation. "
    "arXiv:1805.08206",
    "limits": "Bland & Altman. Measuring agreement in method comparison studies. "
    "doi:10.1177/096228029900800204",
}

_INTERVALS = {
    "bounded": f"intervals of bounded metrics (fewer than {MANY_PATIENTS} patients) weigh "
    "patients at random together with one more at the worst and the best possible value",
    "studentised": "studentised bootstrap intervals were clipped to the metric's range",
    "bca": "BCa bootstrap intervals were clipped to the metric's range",
}


_RANKED = (
    "A case's confidence is the mean over its least sure quarter of labels, the lowest of up to "
    "seven (for masks of medseg one minus the entropy of the probabilities over log 2, averaged "
    "along the label's surface). How well it ranks "
    f"errors is given as the area under the ROC curve for a Dice below {GOOD_DICE:g}, and as the "
    "area under the risk-coverage curve, where risk is 1 − Dice [selective]."
)


def methods_text(scores: Scores, summary: pd.DataFrame, *, ranked: bool = False) -> str:
    """The paragraph, what to fill in, and the sources, as Markdown.

    Args:
        scores: what was scored.
        summary: of them.
        ranked: whether it is said how well confidence ranks errors.
    """
    used = ["reloaded"]
    sentences = [
        _cases(scores),
        _metrics(scores, used),
        _empty(scores),
        _intervals(scores, summary, used),
        "Agreement of volumes is given as bias and limits of agreement (bias ± 1.96 SD) [limits].",
        _software(scores),
    ]
    used.append("limits")
    if ranked:
        sentences.insert(-1, _RANKED)
        used.append("selective")
    text = " ".join(sentence for sentence in sentences if sentence)
    for number, key in enumerate(used, start=1):
        text = text.replace(f"[{key}]", f"[{number}]")
    sources = [f"{number}. {_SOURCES[key]}" for number, key in enumerate(used, start=1)]
    dois = [f"- {METRICS[m].title}: {METRICS[m].source}" for m in _shown(scores)]
    return "\n".join(
        ["# Methods", "", text, "", "## Sources", "", *sources, "", "Definitions:", "", *dois, ""]
    )


def _shown(scores: Scores) -> list[str]:
    return [metric for metric in PAPER_METRICS if metric in scores.metrics]


def _cases(scores: Scores) -> str:
    statuses = scores.cases["status"].value_counts()
    text = (
        f"Predictions were compared with the reference segmentations of {len(scores.cases)} cases "
        f"of {scores.cases['patient'].nunique()} patients ({_listed(scores.labels)})."
    )
    faults = [
        f"{statuses[status]} {word}"
        for status, word in (
            (MISSING, "had no prediction"),
            (REFUSED, "had a prediction that could not be used"),
            (UNSCORED, "had no usable reference"),
        )
        if status in statuses
    ]
    return text + (f" Of these, {_listed(faults)}." if faults else "")


def _metrics(scores: Scores, used: list[str]) -> str:
    tolerances = sorted({scores.config.tolerance_mm, *scores.config.tolerances_mm.values()})
    names = [METRICS[metric].title for metric in _shown(scores)]
    text = f"We report {_listed(names)}, named after Metrics Reloaded [reloaded]."
    if {"nsd", "hd95", "assd"} & set(scores.metrics):
        used.append("surfels")
        mm = _listed([f"{tolerance:g} mm" for tolerance in tolerances])
        text += (
            " Surface distances run between surfels weighted with their area [surfels]; the "
            f"tolerance of the NSD was {mm}."
        )
    return text


def _empty(scores: Scores) -> str:
    return (
        "Where both masks are empty a metric is undefined and left out; where only one is, overlap "
        "is 0 and distances are undefined; a missing prediction counts as empty for overlap."
    )


def _intervals(scores: Scores, summary: pd.DataFrame, used: list[str]) -> str:
    shown = summary[summary["metric"].isin(_shown(scores))]
    methods = [method for method in _INTERVALS if (shown["interval"] == method).any()]
    if not methods:
        return (
            "No intervals are given: there are too few patients "
            f"(fewer than {FEW_PATIENTS}) for a method that holds."
        )
    parts = []
    for method in methods:
        key = "bootstrap" if method == "studentised" else method
        used.append(key)
        parts.append(f"{_INTERVALS[method]} [{key}]")
    return (
        f"Means have {scores.config.confidence:.0%} intervals that draw patients, not scans "
        f"({scores.config.resamples} resamples): {'; '.join(parts)}."
    )


def _software(scores: Scores) -> str:
    versions = scores.about.get("versions") or {}
    names = [f"{name} {version}" for name, version in versions.items()]
    return f"Scores were computed with {_listed(names)}." if names else ""


def _listed(items: Sequence[str]) -> str:
    """``a, b and c``, on one line and without what Markdown would read."""
    plain = [" ".join(str(item).split()).translate(_INERT) for item in items]
    if len(plain) < 2:
        return "".join(plain)
    return f"{', '.join(plain[:-1])} and {plain[-1]}"


_INERT = str.maketrans({letter: f"\\{letter}" for letter in r"\`*_[]<>#|"})
