"""How good are these predictions on this cohort?  Cases paired, scored in parallel, gathered."""

from __future__ import annotations

import multiprocessing
import platform
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from medseg import __version__
from medseg.config import EvaluateConfig
from medseg.errors import BadConfig, BadOutput
from medseg.evaluation.leakage import refuse_leaks
from medseg.evaluation.pairing import (
    Predictions,
    extra_files,
    fold_folders,
    load_predictions,
    sha256_of,
)
from medseg.evaluation.scores import COLUMNS, REFUSED, SCORED, UNSCORED, Scores
from medseg.evaluation.scoring import Outcome, Task, score_case, structures_of
from medseg.labels import LabelTable
from medseg.manifests import Case, Cohort, load_cohort

#: ``split`` of a cross-validation: every train row by the model that did not see its fold.
FOLDS = "folds"


class Progress(Protocol):
    """What is told while cases are scored."""

    def __call__(self, done: int, total: int | None = None, **facts: object) -> None:
        """`done` of `total` cases are scored."""


def evaluate(
    predictions: str | Path,
    cohort: Cohort | str | Path,
    *,
    split: str = "test",
    labels: LabelTable | None = None,
    config: EvaluateConfig | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Scores:
    """Score a folder of masks against a cohort's truth.

    Args:
        predictions: folder of ``<case>.nii.gz`` with ``labels.yaml``; for a cross-validation,
            sub-folders ``fold0``, ``fold1`` … or one folder of out-of-fold predictions.
        cohort: a cohort or its card.
        split: ``test``, ``train`` or ``folds`` (all train rows that have a fold).
        labels: what the values of foreign predictions mean, instead of ``labels.yaml``.
        config: tolerances, intervals, what to do with other grids and leaks.
        workers: processes; each holds one case.
        progress: called after each case.

    Returns:
        The scores; cases without a usable prediction are in it with their reason.

    Raises:
        BadOutput: no such folder, or not one case could be scored.
        BadLabels: nothing says what the predictions' values mean.
        BadCohort: no such cases, or the model was trained on them.
        BadConfig: no such split, or a tolerance for a label that does not exist.
    """
    chosen = config if config is not None else EvaluateConfig()
    whole = cohort if isinstance(cohort, Cohort) else load_cohort(cohort)
    _refuse_unknown_tolerances(whole, chosen)
    evaluated = _select(whole, split)
    sets = _prediction_sets(Path(predictions), evaluated, split, labels)
    tasks = _tasks(whole, evaluated, sets, chosen)
    outcomes = []
    for outcome in _score_all(tasks, workers):
        outcomes.append(outcome)
        if progress is not None:
            progress(len(outcomes), len(tasks))
    leaks = [
        task.case.case for task, outcome in zip(tasks, outcomes, strict=True) if outcome.leaked
    ]
    if chosen.leakage == "refuse":
        refuse_leaks(leaks, cohort=whole)
    if not any(outcome.status == SCORED for outcome in outcomes):
        raise BadOutput(
            "not one case could be scored",
            path=predictions,
            found=outcomes[0].reason,
            expected=f"masks of the {split} cases",
        )
    table = pd.DataFrame([row for o in outcomes for row in o.rows], columns=list(COLUMNS))
    about = _about(whole, split, sets, evaluated, leaks)
    return Scores(table, _case_table(tasks, outcomes), chosen, about)


def plan_tasks(
    predictions: str | Path,
    cohort: Cohort,
    *,
    split: str = "test",
    labels: LabelTable | None = None,
    config: EvaluateConfig | None = None,
) -> list[Task]:
    """The pairs that `evaluate` scores with these arguments, to look at some of them."""
    evaluated = _select(cohort, split)
    sets = _prediction_sets(Path(predictions), evaluated, split, labels)
    return _tasks(cohort, evaluated, sets, config if config is not None else EvaluateConfig())


def _refuse_unknown_tolerances(cohort: Cohort, config: EvaluateConfig) -> None:
    names = [structure.name for structure in structures_of(cohort.labels)]
    unknown = sorted(set(config.tolerances_mm) - set(names))
    if unknown:
        raise BadConfig(
            "a tolerance for labels that do not exist",
            path=cohort.path,
            found=", ".join(unknown),
            expected=", ".join(names),
        )


def _select(cohort: Cohort, split: str) -> Cohort:
    if split not in ("test", "train", FOLDS):
        raise BadConfig("no such split", found=repr(split), expected=f"test, train or {FOLDS}")
    if split != FOLDS:
        return cohort.select(split=split)
    kept = tuple(case for case in cohort.select(split="train").cases if case.fold is not None)
    if not kept:
        raise BadConfig(
            "the cohort has no folds",
            path=cohort.path,
            remedy="Make them with `medseg cohort split`.",
        )
    return cohort.with_cases(kept)


def _prediction_sets(
    folder: Path, evaluated: Cohort, split: str, labels: LabelTable | None
) -> dict[int | None, Predictions]:
    """The predictions of each fold, or all under ``None``."""
    folders = fold_folders(folder) if split == FOLDS else {}
    if not folders:
        return {None: load_predictions(folder, labels=labels)}
    return {
        fold: load_predictions(path, labels=labels)
        for fold, path in folders.items()
        if fold in evaluated.folds
    }


def _set_of(sets: dict[int | None, Predictions], case: Case) -> Predictions | None:
    return sets[None] if None in sets else sets.get(case.fold)


def _tasks(
    whole: Cohort, evaluated: Cohort, sets: dict[int | None, Predictions], config: EvaluateConfig
) -> list[Task]:
    return [_task(whole, case, _set_of(sets, case), config) for case in evaluated.cases]


def _task(
    cohort: Cohort, case: Case, predictions: Predictions | None, config: EvaluateConfig
) -> Task:
    alone = cohort.with_cases((case,))
    if predictions is None:
        return Task(alone, None, cohort.labels, frozenset(), config)
    return Task(
        alone,
        predictions.files.get(case.case),
        predictions.labels,
        predictions.training_pixels,
        config,
    )


def _score_all(tasks: Sequence[Task], workers: int) -> Iterator[Outcome]:
    if workers <= 1 or len(tasks) <= 1:
        yield from map(score_case, tasks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context) as pool:
        yield from pool.map(score_case, tasks)


def _case_table(tasks: Sequence[Task], outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """One row a case, covariates last."""
    rows: list[dict[str, Any]] = []
    for task, outcome in zip(tasks, outcomes, strict=True):
        case = task.case
        rows.append(
            {
                "case": case.case,
                "patient": case.patient,
                "fold": "" if case.fold is None else str(case.fold),
                "status": outcome.status,
                "reason": outcome.reason,
                "leaked": "yes" if outcome.leaked else "",
                "prediction": "" if task.prediction is None else task.prediction.name,
                "prediction_sha256": outcome.facts.get("prediction_sha256", ""),
                "truth_sha256": outcome.facts.get("truth_sha256", ""),
            }
        )
        rows[-1] |= {name: value for name, value in case.covariates.items() if name not in rows[-1]}
    return pd.DataFrame(rows).fillna("")


def _about(
    cohort: Cohort,
    split: str,
    sets: dict[int | None, Predictions],
    evaluated: Cohort,
    leaks: Sequence[str],
) -> dict[str, Any]:
    """What the page must say of where the scores come from; plain YAML values."""
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
        "leaked": list(leaks),
        "leakage": _leakage_check(sets),
        "run": run,
        "versions": {
            "medseg": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "scipy", "pandas")},
        },
    }


def _leakage_check(sets: dict[int | None, Predictions]) -> str:
    known = [len(predictions.training_pixels) for predictions in sets.values()]
    if min(known) == 0:
        return "not checked: run.yaml does not tell which scans trained the model"
    return f"pixels of every case compared with those of {max(known)} training scans"


def problems(scores: Scores) -> list[str]:
    """One line for each thing a user must hear of: missing, refused, unscored, extra, leaked."""
    lines = []
    missing = scores.with_status("missing")
    if missing:
        lines.append(
            f"{len(missing)} of {len(scores.cases)} predictions are missing and count "
            f"as empty: {_some(missing)}"
        )
    for status in (REFUSED, UNSCORED):
        rows = scores.cases[scores.cases["status"] == status]
        lines += [f"{status}: {row.case}: {row.reason}" for row in rows.itertuples()]
    extra = scores.about.get("extra_predictions") or []
    if extra:
        lines.append(
            f"{len(extra)} predictions belong to no case that is evaluated: {_some(extra)}"
        )
    for key, text in (
        ("labels_not_predicted", "labels that the predictions do not know"),
        ("labels_not_in_cohort", "predicted labels that the cohort does not know"),
    ):
        names = scores.about.get(key) or []
        if names:
            lines.append(f"{text}: {_some(names)}")
    leaked = scores.about.get("leaked") or []
    if leaked:
        lines.append(
            f"LEAKAGE: the model was trained on {len(leaked)} of these cases: {_some(leaked)}"
        )
    return lines


def _some(names: Sequence[str], most: int = 20) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
