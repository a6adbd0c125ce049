"""How is a cohort cross-validated?  A run a fold, masks by the one that never saw the scan."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import safetensors.torch

from medseg.config import TrainConfig
from medseg.errors import BadCohort
from medseg.manifests import Cohort
from medseg.model import Model, Provenance, load_model, save_model
from medseg.training.callbacks import Report
from medseg.training.loop import train
from medseg.training.out_of_fold import OUT_OF_FOLD, gather_predictions
from medseg.training.rules import learn_for
from medseg.training.run import Run, begin_run


def train_folds(
    config: TrainConfig,
    cohort: Cohort,
    run: Run,
    *,
    prepared: Callable[[int, int], None],
    report: Report,
) -> Model:
    """Train what is missing of ``fold_0 … fold_k-1``, gather their predictions and weights.

    A fold may also be trained elsewhere, as ``training.fold=i`` with the output ``RUN/fold_i``;
    it is found done. A time budget is shared by the folds that are left.

    Returns:
        ``RUN/model``, the ensemble of all folds.

    Raises:
        BadCohort: the train rows are not divided into as many folds as asked.
    """
    folds = tuple(range(config.folds or 0))
    if set(folds) != set(cohort.folds):
        raise BadCohort(
            "the train rows are divided into other folds",
            path=cohort.path,
            found=f"folds {list(cohort.folds)}",
            expected=f"folds {list(folds)}",
            remedy="Divide with `medseg cohort split`, or change folds.",
        )
    models = []
    for fold in folds:
        models.append(_train_fold(config, cohort, run, fold, prepared, report))
        if run.world.first:
            rows = cohort.select(split="train", fold=fold).labelled()
            gather_predictions(models[-1], rows, run)
    if run.world.first:
        model = _ensemble(models, cohort, run)
        if config.training.rules == "learn":
            rows = cohort.select(split="train").labelled()
            learn_for(model, rows, run.folder / OUT_OF_FOLD)
    run.world.wait()
    return load_model(run.model)


def _train_fold(
    config: TrainConfig,
    cohort: Cohort,
    run: Run,
    fold: int,
    prepared: Callable[[int, int], None],
    report: Report,
) -> Model:
    home = run.folder / f"fold_{fold}"
    if (home / "model" / "model.yaml").is_file():
        return load_model(home / "model")
    loop = config.training.model_copy(update={"fold": fold, "rules": "given"})
    if config.training.minutes is not None:
        left = config.training.minutes - (time.monotonic() - run.started) / 60
        places = [run.folder / f"fold_{fold}" / "model" for fold in range(config.folds or 0)]
        to_do = sum(not place.exists() for place in places)
        loop = loop.model_copy(update={"minutes": max(0.1, left / to_do)})
    settings = config.model_copy(update={"folds": None, "training": loop})
    cache = run.cache or run.folder / "cache"
    inner = replace(run, folder=home, started=time.monotonic(), cache=cache)
    if run.world.first and not inner.checkpoint.is_file():
        begin_run(home, settings, resume=False)
    run.world.wait()
    return train(settings, cohort, inner, prepared=prepared, report=report)


def _ensemble(models: list[Model], cohort: Cohort, run: Run) -> Model:
    """One folder with the weights of all folds; its ranges and pixels are those of all rows."""
    cards = [model.card for model in models]
    ranges: dict[str, tuple[float, float]] = {}
    for card in cards:
        for name, (low, high) in card.volume_ranges_ml.items():
            old = ranges.get(name, (low, high))
            ranges[name] = (min(old[0], low), max(old[1], high))
    first = cards[0].provenance
    pixels = {pixel for card in cards for pixel in card.provenance.training_pixels}
    provenance: Provenance = first.model_copy(
        update={
            "training_pixels": tuple(sorted(pixels)),
            "training_patients": len(cohort.select(split="train").patients),
            "steps": sum(card.provenance.steps for card in cards),
            "seconds": round(sum(card.provenance.seconds for card in cards), 1),
            "non_finite_steps": sum(card.provenance.non_finite_steps for card in cards),
            "validation": None,  # out_of_fold/ says how good each was
        }
    )
    card = cards[0].model_copy(update={"volume_ranges_ml": ranges, "provenance": provenance})
    weights = {
        Path(name).stem: safetensors.torch.load_file(model.folder / "weights" / name)
        for model in models
        for name in model.card.weights
    }
    return save_model(run.model, card, cohort.labels, weights)
