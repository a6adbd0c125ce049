"""What an evaluation rests on, and what its reader must hear first."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from medseg import __version__
from medseg.checksums import sha256_of
from medseg.evaluation.pairing import Predictions, extra_files
from medseg.evaluation.scores import REFUSED, UNSCORED, Scores
from medseg.evaluation.task import BETWEEN_WARNINGS
from medseg.manifests import Cohort
from medseg.manifests.remarks import remarks_by_text, some_names


def about_evaluation(
    cohort: Cohort,
    split: str,
    sets: Mapping[int | None, Predictions],
    evaluated: Cohort,
    leaks: Sequence[str],
    copies: Sequence[str],
) -> dict[str, Any]:
    """What the page must say of where the scores come from; plain YAML values."""
    matches = {case: name for p in sets.values() for case, name in p.match(evaluated.cases).items()}
    extras = sorted({name for p in sets.values() for name in extra_files(p, evaluated.cases)})
    theirs = {name for predictions in sets.values() for name in predictions.labels.names}
    run = {
        key: value
        for key, value in next(iter(sets.values())).run.items()
        if key not in ("training_pixels",)
    }
    return {
        "cohort": cohort.name,
        "cohort_sha256": sha256_of(cohort.path) if cohort.path else "",
        "modality": cohort.modality,
        "licence": cohort.licence,
        "citation": cohort.citation,
        "split": split,
        "folds": [fold for fold in sets if fold is not None],
        "cases": len(evaluated.cases),
        "patients": len(evaluated.patients),
        "labels": cohort.labels.to_card(),
        "labels_not_predicted": [name for name in cohort.labels.names if name not in theirs],
        "labels_not_in_cohort": sorted(theirs - set(cohort.labels.names)),
        "extra_predictions": extras,
        "other_names": {case: name for case, name in matches.items() if case != name},
        "leaked": list(leaks),
        "copies_of_training": list(copies),
        "leakage": _leakage_check(sets),
        "run": run,
        "versions": {
            "medseg": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "scipy", "pandas")},
        },
    }


def _leakage_check(sets: Mapping[int | None, Predictions]) -> str:
    known = [len(predictions.training_pixels) for predictions in sets.values()]
    if min(known) == 0:
        return "not checked: run.yaml does not say which scans trained the model"
    text = f"pixels of every case compared with those of {max(known)} training scans"
    if all(predictions.model_scans is not None for predictions in sets.values()):
        return f"{text}; copies that were saved again are looked for, too"
    return text


def problems(scores: Scores) -> list[str]:
    """One line for each thing a user must hear of: missing, refused, unscored, extra, leaked."""
    lines = []
    other = scores.about.get("other_names") or {}
    if other:
        pairs = [f"{name} for {case}" for case, name in other.items()]
        lines.append(f"{len(other)} masks were matched without additions: {some_names(pairs, 6)}")
    missing = scores.with_status("missing")
    if missing:
        lines.append(
            f"{len(missing)} of {len(scores.cases)} predictions are missing and count "
            f"as empty: {some_names(missing)}"
        )
    for status in (REFUSED, UNSCORED):
        rows = scores.cases[scores.cases["status"] == status]
        lines += [f"{status}: {row.case}: {row.reason}" for row in rows.itertuples()]
    lines += _reader_warnings(scores)
    extra = scores.about.get("extra_predictions") or []
    if extra:
        lines.append(
            f"{len(extra)} predictions belong to no case that is evaluated: {some_names(extra)}"
        )
    for key, text in (
        ("labels_not_predicted", "labels that the predictions do not know"),
        ("labels_not_in_cohort", "predicted labels that the cohort does not know"),
    ):
        names = scores.about.get(key) or []
        if names:
            lines.append(f"{text}: {some_names(names)}")
    leaked = scores.about.get("leaked") or []
    if leaked:
        lines.append(
            f"LEAKAGE: the model was trained on {len(leaked)} of these cases: {some_names(leaked)}"
        )
    copies = scores.about.get("copies_of_training") or []
    if copies:
        lines.append(
            f"LEAKAGE: {len(copies)} of these cases look like scans that trained the model, saved"
            f" again: {some_names(copies)}. Leave them out unless you know better"
        )
    return lines


def _reader_warnings(scores: Scores) -> list[str]:
    """What the readers accepted: one line for each remark, with the cases that it is made of."""
    if "warnings" not in scores.cases:
        return []
    remarks = {
        str(row.case): filter(None, str(row.warnings).split(BETWEEN_WARNINGS))
        for row in scores.cases.itertuples()
    }
    return list(remarks_by_text(remarks))
