"""Cleaning rules that raise Dice, tried on masks of train rows that the network never saw."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from medseg.config import LearntRule, PostprocessRule, TrainConfig
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.manifests import Case, Cohort, read_truth
from medseg.metrics import METRICS
from medseg.model import Model, load_model, write_card
from medseg.postprocess import apply_rules
from medseg.readers.labels import read_labels
from medseg.training.candidates import propose
from medseg.training.out_of_fold import gather_predictions
from medseg.training.run import Run

_log = logging.getLogger(__name__)

#: A rule must be worth this much mean Dice: below, it is one more thing to explain.
LEAST_GAIN = 0.0005

#: From fewer patients nothing is learnt.
LEAST_PATIENTS = 5

#: That all of the rules which are kept help is as sure as this, for each label.
CONFIDENCE = 0.95

#: Rules by label, in the order in which they are applied.
Rules = Mapping[str, Sequence[PostprocessRule]]


def learn_on_fold(config: TrainConfig, cohort: Cohort, run: Run) -> Model:
    """Give a run's model the rules that help on the fold it held out, if its config asks so."""
    model = load_model(run.model)
    fold = config.training.fold
    if config.training.rules == "given" or fold is None:
        return model
    if model.card.provenance.learnt_rules is not None:
        return model
    rows = cohort.select(split="train", fold=fold).labelled()
    return learn_for(model, rows, gather_predictions(model, rows, run))


def learn_for(model: Model, rows: Cohort, masks: Path) -> Model:
    """Learn rules and write them to a model's card, after those it has.

    Args:
        model: what made the masks, its own rules already applied.
        rows: train rows that it did not see.
        masks: folder with ``<case>.nii.gz`` of them.
    """
    learnt = learn_rules(rows, masks)
    for entry in learnt:
        _log.info(
            "%s of %s is kept: Dice %.4f without, %.4f with it",
            entry.rule.rule,
            entry.rule.label,
            entry.dice_before,
            entry.dice_after,
        )
    card = model.card
    provenance = card.provenance.model_copy(update={"learnt_rules": learnt})
    rules = (*card.postprocess, *(entry.rule for entry in learnt))
    write_card(
        model.folder, card.model_copy(update={"postprocess": rules, "provenance": provenance})
    )
    return load_model(model.folder)


def learn_rules(rows: Cohort, masks: Path) -> tuple[LearntRule, ...]:
    """The rules that raise the mean Dice of their label, the most helpful of each label first.

    One rule after the other is added to a label, always the one that gains most, as long as the
    gain is more than chance over patients explains. What a rule gains is judged with the rules
    of the other labels left out, and all of them together are then tried once more.

    Args:
        rows: cases with truth that the masks' network did not see; never test rows.
        masks: folder with ``<case>.nii.gz``; cases without a mask are left out.
    """
    labels = rows.labels
    pairs = _Pairs(rows, masks)
    candidates = propose(pairs.truths(), labels)
    kept: dict[str, list[LearntRule]] = {name: [] for name in labels.names}
    undecided = {name for name in labels.names if candidates.get(name)}
    while undecided:
        tried = _try_each(pairs, labels, {n: _rules(kept[n]) for n in undecided}, candidates)
        for name in sorted(undecided):
            best = _best(tried[name])
            if best is None:
                undecided.discard(name)
                continue
            kept[name].append(best)
            candidates[name] = [c for c in candidates[name] if c.rule != best.rule.rule]
            if not candidates[name]:
                undecided.discard(name)
    return _together(pairs, labels, kept)


@dataclass(frozen=True)
class _Pairs:
    """Truth and mask of each case, read again each time so that one case is held at a time."""

    rows: Cohort
    masks: Path

    def __iter__(self) -> Iterator[tuple[Case, Geometry, NDArray[Any], NDArray[Any]]]:
        for case in self.rows.cases:
            path = self.masks / f"{case.case}.nii.gz"
            if not path.is_file():
                continue
            mask = read_labels(path)
            truth = read_truth(self.rows, case, grid=mask.geometry)
            yield case, mask.geometry, truth.data, mask.data

    def truths(self) -> Iterator[tuple[Case, Geometry, NDArray[Any]]]:
        """Without the masks."""
        for case, grid, truth, _ in self:
            yield case, grid, truth


@dataclass
class _Trial:
    """Dice of one label before and after a rule, a number a case."""

    rule: PostprocessRule
    patients: list[str]
    before: list[float]
    after: list[float]


def _try_each(
    pairs: _Pairs, labels: LabelTable, kept: Rules, candidates: Rules
) -> dict[str, list[_Trial]]:
    """Every candidate of every undecided label, after the rules that its label has."""
    trials = {name: [_Trial(rule, [], [], []) for rule in candidates[name]] for name in kept}
    for case, grid, truth, mask in pairs:
        for name, rules in kept.items():
            if not case.annotates(name):
                continue
            value = labels.value_of(name)
            own, found, small = _cropped(truth, mask, value, grid, candidates[name])
            start = apply_rules(found, small, labels, rules)
            before = _dice(own, start, value, labels)
            for trial in trials[name]:
                cleaned = apply_rules(start, small, labels, [trial.rule])
                trial.patients.append(case.patient)
                trial.before.append(before)
                trial.after.append(_dice(own, cleaned, value, labels))
    return trials


def _cropped(
    truth: NDArray[Any],
    mask: NDArray[Any],
    value: int,
    grid: Geometry,
    candidates: Sequence[PostprocessRule],
) -> tuple[NDArray[Any], NDArray[Any], Geometry]:
    """Both arrays around all voxels of a label, as far as any rule looks, and their grid."""
    reach = max((rule.mm for rule in candidates), default=0.0)
    there = (truth == value) | (mask == value)
    box = []
    for axis, mm in enumerate(grid.spacing_mm):
        line = np.flatnonzero(there.any(tuple({0, 1, 2} - {axis})))
        more = 2 * (int(np.ceil(reach / mm)) + 1)
        first, last = (int(line[0]), int(line[-1])) if line.size else (0, 0)
        box.append(slice(max(0, first - more), last + 1 + more))
    part = truth[tuple(box)]
    return part, mask[tuple(box)], Geometry(part.shape, grid.affine)


def _dice(truth: NDArray[Any], mask: NDArray[Any], value: int, labels: LabelTable) -> float:
    """Of one label where it is scored; 1 where both are empty: a false alarm less is a gain."""
    found = mask == value
    if labels.ignore is not None:
        found &= truth != labels.ignore
    score = METRICS["dice"].compute(truth == value, found, (1.0, 1.0, 1.0))
    return 1.0 if np.isnan(score) else float(score)


def _best(trials: Sequence[_Trial]) -> LearntRule | None:
    """The trial that gained most, if that is more than chance explains."""
    judged = [_judged(trial, len(trials)) for trial in trials]
    helpful = [entry for entry in judged if entry is not None]
    return max(helpful, key=lambda e: e.dice_after - e.dice_before, default=None)


def _judged(trial: _Trial, tries: int) -> LearntRule | None:
    """What a rule was worth; ``None`` where it may be nothing.

    Cases of a patient count as one. A t interval of the gain must lie above zero: one lucky
    patient among many moves the mean, but moves the interval's width as much. With more rules
    tried the interval is wider (Bonferroni), so that luck of the draw does not choose.
    """
    gains = defaultdict(list)
    for patient, before, after in zip(trial.patients, trial.before, trial.after, strict=True):
        gains[patient].append(after - before)
    each = np.array([np.mean(values) for values in gains.values()])
    if each.size < LEAST_PATIENTS:
        return None
    half = stats.t.ppf(1 - (1 - CONFIDENCE) / (2 * tries), each.size - 1) * stats.sem(each)
    before, after = float(np.mean(trial.before)), float(np.mean(trial.after))
    if min(each.mean(), after - before) < LEAST_GAIN or each.mean() - half <= 0:
        return None
    return LearntRule(
        rule=trial.rule,
        dice_before=round(before, 5),
        dice_after=round(after, 5),
        gain_low=round(float(each.mean() - half), 5),
        gain_high=round(float(each.mean() + half), 5),
        cases=len(trial.patients),
        patients=each.size,
    )


def _rules(kept: Sequence[LearntRule]) -> list[PostprocessRule]:
    return [entry.rule for entry in kept]


def _together(
    pairs: _Pairs, labels: LabelTable, kept: Mapping[str, Sequence[LearntRule]]
) -> tuple[LearntRule, ...]:
    """All rules, less those of labels that fare worse when the others' rules run too."""
    learnt = [entry for entries in kept.values() for entry in entries]
    while learnt:
        changes: dict[str, list[float]] = defaultdict(list)
        for case, grid, truth, mask in pairs:
            cleaned = apply_rules(mask, grid, labels, _rules(learnt))
            for name in filter(case.annotates, labels.names):
                value = labels.value_of(name)
                before = _dice(truth, mask, value, labels)
                changes[name].append(_dice(truth, cleaned, value, labels) - before)
        worse = {name for name, change in changes.items() if np.mean(change) < 0}
        if not worse:
            break
        fewer = [entry for entry in learnt if entry.rule.label not in worse]
        learnt = fewer if len(fewer) < len(learnt) else []
    return tuple(learnt)
