"""Cleaning rules are kept where they help unseen scans, and nowhere else."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from medseg.config import PostprocessRule, TrainConfig, validate
from medseg.errors import BadConfig
from medseg.manifests import read_truth
from medseg.model import load_model, write_card
from medseg.postprocess import apply_rules
from medseg.training import Run, begin_run, train
from medseg.training.rules import LEAST_PATIENTS, _judged, _Trial, learn_on_fold, learn_rules
from medseg.volume import LabelMap
from medseg.writers import write_labels
from tests.training.cohorts import ORGANS, partly_labelled, tiny_cohort

SCAN = {"cases": 8, "shape": (18, 16, 14)}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return tiny_cohort(tmp_path_factory.mktemp("rules") / "data", **SCAN).select(split="train")


def masks_of(rows, folder, spoil):
    """Masks as a network might find them: the truth, with mistakes."""
    for number, case in enumerate(rows.cases):
        truth = read_truth(rows, case)
        spoilt = spoil(truth.data.copy(), number)
        write_labels(LabelMap(spoilt, truth.geometry, ORGANS), folder / f"{case.case}.nii.gz")
    return folder


def island(mask, number):
    """Four voxels of ball in a corner, larger in some scans than in others."""
    mask[0, 0, : 2 + number % 3] = 1
    return mask


def hollow(mask, number):
    """A hole in the box."""
    at = np.argwhere(mask == 3)
    middle = tuple(np.round(at.mean(0)).astype(int))
    mask[middle] = 0
    return mask


def test_a_mistake_of_every_scan_is_mended_by_the_rule_that_mends_it(rows, tmp_path):
    (learnt,) = learn_rules(rows, masks_of(rows, tmp_path, island))
    assert learnt.rule.rule in ("keep_largest", "remove_small")
    assert learnt.rule.label == "ball"
    assert learnt.dice_before < 0.99
    assert learnt.dice_after == 1.0
    assert 0 < learnt.gain_low < learnt.dice_after - learnt.dice_before < learnt.gain_high
    assert (learnt.cases, learnt.patients) == (8, 8)
    case = rows.cases[2]
    truth = read_truth(rows, case)
    cleaned = apply_rules(island(truth.data.copy(), 2), truth.geometry, ORGANS, [learnt.rule])
    np.testing.assert_array_equal(cleaned, truth.data)


def test_mistakes_of_two_labels_need_a_rule_each(rows, tmp_path):
    learnt = learn_rules(rows, masks_of(rows, tmp_path, lambda m, n: hollow(island(m, n), n)))
    assert {(entry.rule.label, entry.dice_after) for entry in learnt} == {
        ("ball", 1.0),
        ("box", 1.0),
    }
    (box,) = [entry.rule.rule for entry in learnt if entry.rule.label == "box"]
    assert box in ("fill_holes", "close")


def test_two_mistakes_of_one_label_take_two_rules_the_larger_gain_first(rows, tmp_path):
    def both(mask, number):
        ball = np.argwhere(mask == 1)
        mask[tuple(np.round(ball.mean(0)).astype(int))] = 0
        return island(mask, number)

    learnt = learn_rules(rows, masks_of(rows, tmp_path, both))
    assert [entry.rule.label for entry in learnt] == ["ball", "ball"]
    first, second = learnt
    assert first.dice_after == second.dice_before
    assert second.dice_after == 1.0
    gains = [entry.dice_after - entry.dice_before for entry in learnt]
    assert gains[0] > gains[1] > 0


def test_one_scan_that_gains_is_luck(rows, tmp_path):
    """The mean rises as much as with a small mistake everywhere, but in one patient alone."""

    def once(mask, number):
        if number == 3:
            mask[0, :8, :8] = 1
        return mask

    assert learn_rules(rows, masks_of(rows, tmp_path, once)) == ()


def test_right_masks_need_no_rules(rows, tmp_path):
    assert learn_rules(rows, masks_of(rows, tmp_path, lambda mask, number: mask)) == ()


def test_a_rule_that_costs_more_than_it_gains_is_not_kept(rows, tmp_path):
    """Islands that truly belong to the ball: keeping the largest part alone would lose them."""

    def true_islands(mask, number):
        mask[0:3, 0:3, 0:3] = 1
        return mask

    parts = []
    for number, case in enumerate(rows.cases):
        truth = read_truth(rows, case)
        path = tmp_path / "truth" / f"{case.case}.nii.gz"
        write_labels(
            LabelMap(true_islands(truth.data.copy(), number), truth.geometry, ORGANS), path
        )
        parts.append(replace(case, label=path))
    scattered = rows.with_cases(tuple(parts))
    assert learn_rules(scattered, masks_of(scattered, tmp_path / "masks", lambda m, n: m)) == ()
    (learnt,) = learn_rules(
        scattered,
        masks_of(scattered, tmp_path / "more", lambda m, n: np.where(_far(m), 1, m)),
    )
    assert (learnt.rule.rule, learnt.rule.count) != ("keep_largest", 1)


def _far(mask):
    far = np.zeros(mask.shape, bool)
    far[-1, -1, -2:] = True
    return far


def test_a_false_alarm_less_is_a_gain_though_dice_is_undefined_there(rows, tmp_path):
    """Six of eight scans have no ball, and a speck of it is found in all."""
    parts = []
    for number, case in enumerate(rows.cases):
        truth = read_truth(rows, case)
        data = truth.data.copy()
        if number > 1:
            data[data == 1] = 0
        path = tmp_path / "truth" / f"{case.case}.nii.gz"
        write_labels(LabelMap(data, truth.geometry, ORGANS), path)
        parts.append(replace(case, label=path))
    absent = rows.with_cases(tuple(parts))

    def speck(mask, number):
        mask[0, 0, 0] = 1
        return mask

    (learnt,) = learn_rules(absent, masks_of(absent, tmp_path / "masks", speck))
    assert learnt.rule.rule == "remove_small"
    assert learnt.dice_after == 1.0


def test_scans_of_one_patient_count_as_one(rows, tmp_path):
    folder = masks_of(rows, tmp_path, island)
    twins = tuple(replace(case, patient="P0") for case in rows.cases)
    assert learn_rules(rows.with_cases(twins), folder) == ()
    assert learn_rules(rows.with_cases(rows.cases[: LEAST_PATIENTS - 1]), folder) == ()


def test_chance_alone_is_seldom_taken_for_a_gain():
    """Eight rules that do nothing but noise, 20 patients: kept in at most one of 20 cohorts."""
    rng = np.random.default_rng(0)
    rule, patients = PostprocessRule(rule="fill_holes"), [f"P{n}" for n in range(20)]
    fooled = 0
    for _ in range(300):
        for _ in range(8):
            after = (0.9 + 0.02 * rng.standard_normal(20)).tolist()
            if _judged(_Trial(rule, patients, [0.9] * 20, after), 8) is not None:
                fooled += 1
                break
    # 2.5 % expected (one side of a 95 % interval); three standard errors above it
    assert fooled / 300 < 0.025 + 3 * (0.025 * 0.975 / 300) ** 0.5


def test_a_real_gain_is_seen_through_the_same_noise():
    rng = np.random.default_rng(1)
    patients = [f"P{n}" for n in range(20)]
    after = (0.93 + 0.02 * rng.standard_normal(20)).tolist()
    trial = _Trial(PostprocessRule(rule="fill_holes"), patients, [0.9] * 20, after)
    learnt = _judged(trial, 8)
    assert learnt is not None
    assert learnt.gain_low > 0


def test_a_truth_without_the_label_has_no_say(tmp_path):
    rows = partly_labelled(tmp_path / "data", **SCAN | {"cases": 12}).select(split="train")
    (learnt,) = learn_rules(rows, masks_of(rows, tmp_path / "masks", island))
    assert learnt.rule.label == "ball"
    assert learnt.cases == 6, "the other six were drawn for the box alone"


PLAN = {
    "cohort": "tiny.yaml",
    "patch": [16, 16, 16],
    "network": {"name": "unet", "options": {"features": [4, 8]}},
    "training": {"steps": 2, "warmup": 1, "fold": 1, "validations": 0, "rules": "learn"},
}


def test_a_run_with_a_held_out_fold_learns_on_it_alone_and_says_so(rows, tmp_path):
    config = validate(TrainConfig, PLAN)
    run = Run(tmp_path / "run", torch.device("cpu"), time.monotonic())
    begin_run(run.folder, config, resume=False)
    model = train(
        config, rows, run, prepared=lambda *_: None, report=lambda *_, **__: None
    )  # the test row has no files: opening it would fail
    held_out = {f"{case.case}.nii.gz" for case in rows.select(fold=1).cases}
    assert {path.name for path in (run.folder / "out_of_fold").glob("*.nii.gz")} == held_out
    card = model.card
    assert card.provenance.learnt_rules is not None, "asked for, whatever was found"
    assert card.postprocess == tuple(entry.rule for entry in card.provenance.learnt_rules)
    # as if the run had been killed before it had learnt: it does so when it is resumed
    blank = card.provenance.model_copy(update={"learnt_rules": None})
    write_card(run.model, card.model_copy(update={"provenance": blank, "postprocess": ()}))
    again = learn_on_fold(config, rows, run)
    assert again.card == card
    assert load_model(run.model).card == card


def test_rules_cannot_be_learnt_where_nothing_is_held_out():
    everything = {**PLAN, "training": {**PLAN["training"], "fold": None}}
    with pytest.raises(BadConfig, match=r"give folds or training\.fold"):
        validate(TrainConfig, everything)
