"""Cross-validation: a run a fold, and masks by the network that never saw the scan."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import safetensors.torch

from medseg.config import TrainConfig
from medseg.errors import BadCohort
from medseg.manifests import Cohort
from medseg.manifests.looks import read_looks, write_looks
from medseg.model import CARD, Model, Provenance, load_model, save_model
from medseg.model.structures import widest
from medseg.progress import Progress, silent
from medseg.training.callbacks import Report
from medseg.training.checks import check_config, check_division, check_share, check_unseen
from medseg.training.loop import prepare_together, train
from medseg.training.origin import keep_origin
from medseg.training.out_of_fold import OUT_OF_FOLD, gather_predictions, masks_made
from medseg.training.rules import learn_for
from medseg.training.run import Run, begin_run, check_same_config, hold_run

#: What may differ between a fold and the run it belongs to: its share of the time, and rules,
#: which are learnt on all folds together.
_FREE = ("training.minutes", "training.rules")


def train_folds(
    config: TrainConfig,
    cohort: Cohort,
    run: Run,
    *,
    prepared: Progress,
    report: Report,
) -> Model:
    """Train what is missing of ``fold_0 … fold_k-1``, gather their predictions and weights.

    A fold may also be trained elsewhere, as ``training.fold=i`` with the output ``RUN/fold_i``;
    it is found done. A time budget is shared by the folds that are left, and by the masks of
    the rows that they hold out once it is known how long these take.

    Returns:
        ``RUN/model``, the ensemble of all folds.

    Raises:
        BadCohort: the train rows are not divided into as many folds as asked, one of them has
            no label, or they were divided otherwise when a fold was trained.
        BadConfig: a fold was trained with another config.
        BadModel: the model to start from has seen what folds should hold out.
    """
    held_out = _held_out(config, cohort)
    check_config(config, cohort)
    check_share(config, run)
    done = {fold: _finished(config, run, fold) for fold in held_out}
    _remember_origin(run, done.values())
    data = prepare_together(config, cohort, run, prepared)
    pixels = {one.facts.case: one.facts.pixels for one in data.train}
    check_unseen(run, pixels)
    for fold, model in done.items():
        if model is not None:
            check_division(model, held_out[fold], pixels, cohort.path)
    models: list[Model] = []
    seconds_a_mask = 0.0
    for fold, rows in held_out.items():
        run.world.wait()
        model = _finished(config, run, fold)
        if model is None:
            to_do = sum(not _is_done(run, other) for other in held_out)
            missing = sum(len(rows.cases) for rows in held_out.values()) - len(masks_made(run))
            minutes = _share(config, run, to_do, seconds_a_mask * missing)
            told = partial(report, fold=f"{fold + 1} of {len(held_out)}")
            model = _train_fold(_fold(config, fold, minutes), cohort, run, told)
        models.append(model)
        if run.world.first:
            began = time.monotonic()
            gather_predictions(model, rows, run)
            seconds_a_mask = max(seconds_a_mask, (time.monotonic() - began) / len(rows.cases))
    if run.world.first:
        whole = _ensemble(models, cohort, run)
        if config.training.rules == "learn":
            rows = cohort.select(split="train").labelled()
            learn_for(whole, rows, run.folder / OUT_OF_FOLD)
    run.world.wait()
    return load_model(run.model)


def _held_out(config: TrainConfig, cohort: Cohort) -> dict[int, Cohort]:
    """The labelled rows of each fold."""
    folds = tuple(range(config.folds or 0))
    if set(folds) != set(cohort.folds):
        raise BadCohort(
            "the train rows are divided into other folds",
            path=cohort.path,
            found=f"folds {list(cohort.folds)}",
            expected=f"folds {list(folds)}",
            remedy="Divide with `medseg cohort split`, or change folds.",
        )
    return {fold: cohort.select(split="train", fold=fold).labelled() for fold in folds}


def _fold(config: TrainConfig, fold: int, minutes: float | None) -> TrainConfig:
    """The config of one fold."""
    changes = {"fold": fold, "rules": "given", "minutes": minutes}
    loop = config.training.model_copy(update=changes)
    return config.model_copy(update={"folds": None, "training": loop})


def _home(run: Run, fold: int | None) -> Path:
    return run.folder / f"fold_{fold}"


def _is_done(run: Run, fold: int) -> bool:
    return (_home(run, fold) / "model" / CARD).is_file()


def _finished(config: TrainConfig, run: Run, fold: int) -> Model | None:
    """A fold's model, if it is there, without the rules that it learnt for itself.

    Raises:
        BadConfig: it was trained with another config.
    """
    if not _is_done(run, fold):
        return None
    folder = _home(run, fold) / "model"
    model = load_model(folder)
    settings = _fold(config, fold, config.training.minutes)
    check_same_config(model.card.provenance.config, settings, folder, _FREE)
    provenance = model.card.provenance.model_copy(update={"learnt_rules": None})
    given = {"postprocess": config.postprocess, "provenance": provenance}
    return replace(model, card=model.card.model_copy(update=given))


def _share(config: TrainConfig, run: Run, folds: int, set_aside: float) -> float | None:
    """Minutes for one of the folds that are left, where at most half goes into masks."""
    if config.training.minutes is None:
        return None
    left = config.training.minutes - (time.monotonic() - run.started) / 60
    return max(0.1, max(left - set_aside / 60, left / 2) / folds)


def _train_fold(config: TrainConfig, cohort: Cohort, run: Run, report: Report) -> Model:
    """Begin a fold, or go on with it."""
    home = _home(run, config.training.fold)
    cache = run.cache or run.folder / "cache"
    inner = replace(run, folder=home, started=time.monotonic(), cache=cache)
    with hold_run(home, break_lock=run.break_lock) if run.world.first else nullcontext():
        if run.world.first:
            begin_run(home, config, resume=True, free=_FREE)
        run.world.wait()
        return train(config, cohort, inner, prepared=silent, report=report)


def _remember_origin(run: Run, done: Collection[Model | None]) -> None:
    """The model that all folds start from; folds that are done started from the same."""
    origins = [model.card.provenance.init for model in done if model is not None]
    keep_origin(run, begun=None in origins, needed=None in done)


def _ensemble(models: list[Model], cohort: Cohort, run: Run) -> Model:
    """One folder with the weights of all folds; its ranges and pixels are those of all rows."""
    cards = [model.card for model in models]
    ranges: dict[str, tuple[float, float]] = {}
    for card in cards:
        for name, (low, high) in card.volume_ranges_ml.items():
            known = [end for end in (*ranges.get(name, ()), low, high) if end > 0] or [0.0]
            ranges[name] = (min(known), max(known))
    first = cards[0].provenance
    pixels = {pixel for card in cards for pixel in card.provenance.training_pixels}
    provenance: Provenance = first.model_copy(
        update={
            "training_pixels": tuple(sorted(pixels)),
            "training_patients": len(cohort.select(split="train").patients),
            "steps": sum(card.provenance.steps for card in cards),
            "seconds": round(sum(card.provenance.seconds for card in cards), 1),
            "non_finite_steps": sum(card.provenance.non_finite_steps for card in cards),
            "float32_steps": sum(card.provenance.float32_steps for card in cards),
            "validation": None,  # out_of_fold/ says how good each was
        }
    )
    changes = {
        "volume_ranges_ml": ranges,
        "limits": widest([card.limits for card in cards]),
        "provenance": provenance,
    }
    card = cards[0].model_copy(update=changes)
    weights = {
        Path(name).stem: safetensors.torch.load_file(model.folder / "weights" / name)
        for model in models
        for name in model.card.weights
    }
    write_looks(run.model, read_looks(model.folder for model in models))
    return save_model(run.model, card, cohort.labels, weights)
