"""An evaluation from start to end: cases paired, scored side by side, gathered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from medseg.config import EvaluateConfig
from medseg.errors import BadConfig, BadOutput
from medseg.evaluation.about import about_evaluation
from medseg.evaluation.folders import is_truth, truth_cohort
from medseg.evaluation.journal import Journal
from medseg.evaluation.leakage import copies_of_training, refuse_leaks
from medseg.evaluation.pairing import Predictions, fold_folders, load_predictions
from medseg.evaluation.rows import structures_of
from medseg.evaluation.running import score_all
from medseg.evaluation.scores import COLUMNS, SCORED, Scores
from medseg.evaluation.task import Outcome, Task
from medseg.labels import LabelTable
from medseg.manifests import Case, Cohort, load_cohort
from medseg.manifests.remarks import some_names
from medseg.progress import Progress
from medseg.tables import printable

#: ``split`` of a cross-validation: every train row by the model that did not see its fold.
FOLDS = "folds"


def evaluate(
    predictions: str | Path,
    cohort: Cohort | str | Path,
    *,
    split: str = "test",
    labels: LabelTable | None = None,
    config: EvaluateConfig | None = None,
    workers: int = 1,
    progress: Progress | None = None,
    journal: Path | None = None,
) -> Scores:
    """Score masks against a cohort's truth, or against a folder of true masks.

    Args:
        predictions: folder of ``<case>.nii.gz`` with ``labels.yaml``, or one mask; for a
            cross-validation, sub-folders ``fold0``, ``fold1`` … or one folder of out-of-fold
            predictions.
        cohort: a cohort, its card, a folder of true masks, or one true mask.
        split: ``test``, ``train`` or ``folds`` (all train rows that have a fold).
        labels: what the values of foreign predictions mean, instead of ``labels.yaml``; those
            of true masks, too, where there is no card.
        config: tolerances, intervals, what to do with other grids and leaks.
        workers: processes; each holds one case.
        progress: called after each case.
        journal: file that keeps scored cases until all are, so that the same call goes on after
            a kill.

    Returns:
        The scores; cases without a usable prediction are in it with their reason.

    Raises:
        BadOutput: no such folder, or not one case could be scored.
        BadLabels: nothing says what the predictions' values mean.
        BadCohort: no such cases, or the model was trained on them.
        BadConfig: no such split, or a tolerance for a label that does not exist.
    """
    chosen = config if config is not None else EvaluateConfig()
    whole = _cohort(cohort, labels)
    _refuse_unknown_tolerances(whole, chosen)
    evaluated = _select(whole, split)
    sets = _prediction_sets(Path(predictions), evaluated, split, labels)
    tasks = _tasks(whole, evaluated, sets, chosen)
    kept = None if journal is None else Journal(journal)
    outcomes = []
    for outcome in score_all(tasks, workers, kept):
        outcomes.append(outcome)
        if progress is not None:
            progress(len(outcomes), len(tasks))
    if kept is not None:
        kept.remove()
    leaks = [
        task.case.case for task, outcome in zip(tasks, outcomes, strict=True) if outcome.leaked
    ]
    if chosen.leakage == "refuse":
        refuse_leaks(leaks, cohort=whole)
    copies = copies_of_training(tasks, outcomes)
    if not any(outcome.status == SCORED for outcome in outcomes):
        raise _nothing_scored(Path(predictions), split, sets, tasks, outcomes)
    table = pd.DataFrame([row for o in outcomes for row in o.rows], columns=list(COLUMNS))
    about = about_evaluation(whole, split, sets, evaluated, leaks, copies)
    return Scores(table, _case_table(tasks, outcomes, copies), chosen, about)


def _cohort(cohort: Cohort | str | Path, labels: LabelTable | None) -> Cohort:
    """The cohort, by itself, from its card, or from true masks."""
    if isinstance(cohort, Cohort):
        return cohort
    if is_truth(Path(cohort)):
        return truth_cohort(Path(cohort), labels)
    return load_cohort(cohort)


def _nothing_scored(
    predictions: Path,
    split: str,
    sets: Mapping[int | None, Predictions],
    tasks: Sequence[Task],
    outcomes: Sequence[Outcome],
) -> BadOutput:
    """Why not: names that do not meet, or what is wrong with the first case."""
    names = sorted({name for masks in sets.values() for name in masks.files})
    cases = [task.case.case for task in tasks]
    if any(task.prediction is not None for task in tasks):
        return BadOutput(
            "not one case could be scored",
            path=predictions,
            found=f"{cases[0]}: {outcomes[0].reason}",
            expected=f"masks of the {split} cases",
        )
    return BadOutput(
        "not one case could be scored: no mask has the name of a case",
        path=predictions,
        found=f"masks named {some_names(names, 6)}" if names else "no masks",
        expected=f"masks named {some_names(cases, 6)}",
        remedy="Rename the masks after the cases; endings such as _0000 or _seg may stay.",
    )


def plan_tasks(
    predictions: str | Path,
    cohort: Cohort | str | Path,
    *,
    split: str = "test",
    labels: LabelTable | None = None,
    config: EvaluateConfig | None = None,
) -> list[Task]:
    """The pairs that `evaluate` scores with these arguments, to look at some of them."""
    whole = _cohort(cohort, labels)
    evaluated = _select(whole, split)
    sets = _prediction_sets(Path(predictions), evaluated, split, labels)
    return _tasks(whole, evaluated, sets, config if config is not None else EvaluateConfig())


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
    with_fold = tuple(case for case in cohort.select(split="train").cases if case.fold is not None)
    if not with_fold:
        raise BadConfig(
            "the cohort has no folds",
            path=cohort.path,
            remedy="Make them with `medseg cohort split`.",
        )
    return cohort.with_cases(with_fold)


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
    matches = {id(masks): masks.match(evaluated.cases) for masks in sets.values()}
    tasks = []
    for case in evaluated.cases:
        masks = _set_of(sets, case)
        name = None if masks is None else matches[id(masks)].get(case.case)
        tasks.append(_task(whole, case, masks, name, config))
    return tasks


def _task(
    cohort: Cohort,
    case: Case,
    predictions: Predictions | None,
    name: str | None,
    config: EvaluateConfig,
) -> Task:
    alone = cohort.with_cases((case,))
    if predictions is None:
        return Task(alone, None, cohort.labels, frozenset(), config)
    return Task(
        alone,
        None if name is None else predictions.files[name],
        predictions.labels,
        predictions.training_pixels,
        config,
        predictions.model_scans,
    )


def _case_table(
    tasks: Sequence[Task], outcomes: Sequence[Outcome], copies: Sequence[str]
) -> pd.DataFrame:
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
                "warnings": outcome.facts.get("warnings", ""),
                "leaked": "yes" if outcome.leaked else "copy" if case.case in copies else "",
                "prediction": "" if task.prediction is None else printable(task.prediction.name),
                "prediction_sha256": outcome.facts.get("prediction_sha256", ""),
                "truth_sha256": outcome.facts.get("truth_sha256", ""),
            }
        )
        rows[-1] |= {name: value for name, value in case.covariates.items() if name not in rows[-1]}
    return pd.DataFrame(rows).fillna("")
