"""How is a cohort cross-validated?  A run a fold, masks by the one that never saw the scan."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import safetensors.torch

from medseg.config import TrainConfig
from medseg.errors import BadCohort, BadModel
from medseg.manifests import Cohort
from medseg.model import CARD, Model, Provenance, load_model, save_model
from medseg.training.callbacks import Report
from medseg.training.checks import check_config
from medseg.training.loop import prepare_together, train
from medseg.training.origin import keep_origin, read_origin
from medseg.training.out_of_fold import OUT_OF_FOLD, gather_predictions
from medseg.training.rules import learn_for
from medseg.training.run import Run, begin_run, check_same_config

#: What may differ between a fold and the run it belongs to: its share of the time, and rules,
#: which are learnt on all folds together.
_FREE = ("training.minutes", "training.rules")


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
    folds = tuple(range(config.folds or 0))
    if set(folds) != set(cohort.folds):
        raise BadCohort(
            "the train rows are divided into other folds",
            path=cohort.path,
            found=f"folds {list(cohort.folds)}",
            expected=f"folds {list(folds)}",
            remedy="Divide with `medseg cohort split`, or change folds.",
        )
    held_out = {fold: cohort.select(split="train", fold=fold).labelled() for fold in folds}
    check_config(config, cohort)
    keep_origin(run, begun=all(_is_done(run, fold) for fold in folds))
    data = prepare_together(config, cohort, run, prepared)
    pixels = {one.facts.case: one.facts.pixels for one in data.train}
    _check_unseen(run, pixels)
    models = []
    seconds_a_mask = 0.0
    for fold, rows in held_out.items():
        to_do = [other for other in folds if not _is_done(run, other)]
        masks = sum(len(held_out[other].cases) for other in to_do)
        model = _train_fold(
            config, cohort, run, fold, len(to_do), seconds_a_mask * masks, report
        )  # fmt: skip
        _check_division(model, rows, pixels, cohort.path)
        models.append(model)
        if run.world.first:
            began = time.monotonic()
            gather_predictions(model, rows, run)
            seconds_a_mask = max(seconds_a_mask, (time.monotonic() - began) / len(rows.cases))
    if run.world.first:
        model = _ensemble(models, cohort, run)
        if config.training.rules == "learn":
            rows = cohort.select(split="train").labelled()
            learn_for(model, rows, run.folder / OUT_OF_FOLD)
    run.world.wait()
    return load_model(run.model)


def _is_done(run: Run, fold: int) -> bool:
    return (run.folder / f"fold_{fold}" / "model" / CARD).is_file()


def _train_fold(
    config: TrainConfig,
    cohort: Cohort,
    run: Run,
    fold: int,
    to_do: int,
    set_aside: float,
    report: Report,
) -> Model:
    """One fold, in its share of the time that is left, `set_aside` seconds left out."""
    home = run.folder / f"fold_{fold}"
    loop = config.training.model_copy(update={"fold": fold, "rules": "given"})
    if config.training.minutes is not None:
        left = config.training.minutes - (time.monotonic() - run.started + set_aside) / 60
        loop = loop.model_copy(update={"minutes": max(0.1, left / max(1, to_do))})
    settings = config.model_copy(update={"folds": None, "training": loop})
    if _is_done(run, fold):
        check_same_config(home, settings, _FREE)
        return load_model(home / "model")
    cache = run.cache or run.folder / "cache"
    inner = replace(run, folder=home, started=time.monotonic(), cache=cache)
    if run.world.first:
        begin_run(home, settings, resume=True, free=_FREE)
    run.world.wait()
    return train(settings, cohort, inner, prepared=lambda *_: None, report=report)


def _check_unseen(run: Run, pixels: Mapping[str, str]) -> None:
    """Refuse to start from a model that was trained on rows which folds hold out."""
    origin = read_origin(run)
    seen = set(origin[1]) if origin is not None else set()
    known = [case for case, pixel in pixels.items() if pixel in seen]
    if known:
        raise BadModel(
            "the model to start from was trained on cases that the folds hold out",
            path=run.init or run.folder,
            found=f"{len(known)} of {len(pixels)} cases, such as {known[0]}",
            expected="none: their out-of-fold Dice would flatter",
            remedy="Start from a model of other scans, or train one network without folds.",
        )


def _check_division(
    model: Model, rows: Cohort, pixels: Mapping[str, str], table: Path | None
) -> None:
    """Refuse a fold that was trained when the rows were divided otherwise."""
    named = {case.case for case in rows.cases}
    others = {pixel for case, pixel in pixels.items() if case not in named}
    own = {pixel for case, pixel in pixels.items() if case in named} - others
    seen = set(model.card.provenance.training_pixels)
    if own & seen or others - seen:
        raise BadCohort(
            f"{model.folder.parent.name} was trained when the rows were divided otherwise",
            path=table,
            found=f"it has seen {len(own & seen)} of the {len(own)} scans that it should be"
            f" scored on, and not {len(others - seen)} of the others",
            expected="0 and 0",
            remedy="Use the table as it was then, or remove that folder to train it anew.",
        )


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
