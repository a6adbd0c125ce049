"""Every kind of truth and scan teaches what it should: trained, segmented and scored."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from medseg.cli import run
from medseg.labels import LabelTable
from medseg.manifests import Case, Split, load_cohort, write_cohort
from medseg.networks.unet import UNet
from medseg.phantoms import Population, write_phantom_cohort
from medseg.readers.labels import read_labels
from medseg.volume import LabelMap
from medseg.writers import write_labels
from tests.training.cohorts import ORGANS, tiny_cohort

PLAN = {
    "cohort": "tiny.yaml",
    "patch": [16, 16, 16],
    "network": {"name": "unet", "options": {"features": [8, 16]}},
    "augment": {"mirror_axes": [1]},
    "training": {
        "steps": 100,
        "warmup": 4,
        "learning_rate": 0.01,
        "ema": 0.9,
        "precision": "float32",
    },
    "infer": {"overlap": 0.25},
}
TEST_CASES = 4


def divided(cohort):
    """The last rows become test rows with files of their own."""
    rows = [row for row in cohort.cases if row.split is Split.TRAIN]
    test = [replace(row, split=Split.TEST, fold=None) for row in rows[-TEST_CASES:]]
    return cohort.with_cases((*rows[:-TEST_CASES], *test))


def scored(folder, cohort, changes=()):
    """Train on the train rows, segment and evaluate the test rows; the rows of scores.csv."""
    card = write_cohort(cohort, folder / "tiny.yaml")
    plan = folder / "plan.yaml"
    plan.write_text(yaml.safe_dump(PLAN))
    quiet = ("--quiet", "--output")
    changes = [f"training.checkpoint_minutes={60}", *changes]
    assert run("train", plan, *changes, *quiet, folder / "run", "--device", "cpu") == 0
    model, masks = folder / "run" / "model", folder / "masks"
    call = ("segment", model, card, "--split", "test", "--executor", "inline", "--device", "cpu")
    assert run(*call, *quiet, masks) == 0
    assert run("evaluate", masks, card, "--split", "test", *quiet, folder / "evaluation") == 0
    with (folder / "evaluation" / "scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def mean_of(rows, label, metric="dice"):
    values = [
        float(row["value"])
        for row in rows
        if (row["label"], row["metric"]) == (label, metric) and row["value"]
    ]
    return float(np.mean(values))


def rewritten(cohort, change):
    """The same cohort with other truths; `change` is of (values, case, number)."""
    for number, case in enumerate(cohort.cases):
        if case.label is not None and case.label.exists():
            truth = read_labels(case.label)
            data = change(truth.data.copy(), case, number)
            write_labels(LabelMap(data, truth.geometry, None), case.label)
    return cohort


@pytest.mark.slow
def test_remapped_values_are_learnt_segmented_and_scored_as_what_they_became(tmp_path):
    """The files hold 3 for a part of what the card calls 1."""
    drawn = divided(tiny_cohort(tmp_path, cases=8))
    one = LabelTable.from_card({"labels": {"organ": 1}})
    rows = scored(tmp_path, replace(drawn, labels=one, remap={3: 1}))
    assert mean_of(rows, "organ") > 0.85
    truth = read_labels(drawn.cases[-1].label)
    both = float(np.isin(truth.data, (1, 3)).sum()) * truth.geometry.voxel_ml
    (said,) = [
        float(row["value"])
        for row in rows
        if row["case"] == drawn.cases[-1].case
        and (row["label"], row["metric"]) == ("organ", "truth_ml")
    ]
    assert said == pytest.approx(both)
    mask = read_labels(tmp_path / "masks" / f"{drawn.cases[-1].case}.nii.gz")
    assert set(np.unique(mask.data)) == {0, 1}


def drawn_for(number):
    """One train row in four was drawn for the ball, the others for the box."""
    return "box" if number % 4 else "ball"


def in_parts(cohort):
    """Train rows show one label alone, test rows both."""

    def one_of_two(data, case, number):
        if case.split is Split.TRAIN:
            data[data != ORGANS.value_of(drawn_for(number))] = 0
        return data

    return rewritten(cohort, one_of_two)


def told(cohort):
    """The table says which label each truth was drawn for."""
    return cohort.with_cases(
        tuple(
            replace(row, labelled=(drawn_for(n),)) if row.split is Split.TRAIN else row
            for n, row in enumerate(cohort.cases)
        )
    )


@pytest.mark.slow
def test_scans_drawn_for_one_label_each_teach_both(tmp_path, record_property):
    whole = divided(tiny_cohort(tmp_path / "data", cases=12))
    parts = in_parts(whole)
    rows = scored(tmp_path / "told", told(parts))
    silent = scored(tmp_path / "silent", parts)
    dice = {name: (mean_of(rows, name), mean_of(silent, name)) for name in ORGANS.names}
    record_property("told and not told", dice)
    assert min(said for said, _ in dice.values()) > 0.8
    said, unsaid = dice["ball"]
    # 0.908 and 0.869 with this seed: the overlap term alone still finds much of it
    assert said > unsaid + 0.02, "three truths in four would call the ball background"


def test_labels_that_a_truth_was_not_drawn_for_are_not_scored_there(tmp_path):
    """Test rows annotated in part: the truth itself as prediction, with the other label added."""
    whole = tiny_cohort(tmp_path, cases=4)
    rows: list[Case] = []
    masks = tmp_path / "masks"
    for number, row in enumerate(whole.select(split="train").cases):
        truth = read_labels(row.label)
        write_labels(LabelMap(truth.data, truth.geometry, ORGANS), masks / f"{row.case}.nii.gz")
        name = ORGANS.names[number % 2]
        only = np.where(truth.data == ORGANS.value_of(name), truth.data, 0)
        write_labels(LabelMap(only, truth.geometry, None), row.label)
        rows.append(replace(row, split=Split.TEST, fold=None, labelled=(name,)))
    (masks / "labels.yaml").write_text(yaml.safe_dump(ORGANS.to_card()))
    card = write_cohort(whole.with_cases(tuple(rows)), tmp_path / "part.yaml")
    assert load_cohort(card).cases[1].labelled == ("box",)
    assert run("evaluate", masks, card, "--quiet", "--output", tmp_path / "evaluation") == 0
    with (tmp_path / "evaluation" / "scores.csv").open(newline="") as file:
        scores = list(csv.DictReader(file))
    for row in scores:
        drawn = row["label"] == "mean" or row["label"] in next(
            case.labelled for case in rows if case.case == row["case"]
        )
        if row["metric"] == "dice":
            assert row["value"] == ("1.0" if drawn else ""), row
        if not drawn:
            assert row["value"] == ""
            assert "not annotated" in row["note"]


def test_segmenting_mirrors_along_the_axes_that_were_trained_and_no_other(tmp_path, monkeypatch):
    """A run that mirrored front to back: each window is seen twice, once so turned."""
    cohort = divided(tiny_cohort(tmp_path, cases=5, shape=(12, 12, 12)))
    card = write_cohort(cohort, tmp_path / "tiny.yaml")
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump(PLAN))
    changes = ["training.steps=2", "training.warmup=1", "infer.mirror_axes=[1]"]
    call = ("train", plan, *changes, "--quiet", "--output", tmp_path / "run", "--device", "cpu")
    assert run(*call) == 0
    seen = []
    forward = UNet.forward

    def watched(self, image):
        if image.count_nonzero():  # not the empty window that memory is measured with
            seen.append(image.float())
        return forward(self, image)

    monkeypatch.setattr(UNet, "forward", watched)
    call = ("segment", tmp_path / "run" / "model", card, "--split", "test", "--executor", "inline")
    for tta, turns in (("model", 2), ("none", 1)):
        seen.clear()
        masks = tmp_path / tta
        assert run(*call, f"tta={tta}", "--device", "cpu", "--quiet", "--output", masks) == 0
        assert len(seen) == turns * TEST_CASES, "one window a scan"
        if turns == 2:
            for plain, turned in zip(seen[::2], seen[1::2], strict=True):
                assert torch.equal(turned, plain.flip(3))
                assert not torch.equal(turned, plain)


@pytest.mark.slow
def test_an_ignore_label_over_half_of_the_truth_costs_little(tmp_path, record_property):
    whole = divided(tiny_cohort(tmp_path / "data", cases=10))
    full = mean_of(scored(tmp_path / "full", whole), "mean")

    def half_ignored(data, case, number):
        """Slabs of three voxels in turn, across another axis from case to case."""
        if case.split is Split.TRAIN:
            slabs = np.arange(data.shape[number % 3]) // 3 % 2 == number % 2
            np.moveaxis(data, number % 3, 0)[slabs] = 255
        return data

    labels = replace(whole.labels, ignore=255)
    ignoring = replace(rewritten(whole, half_ignored), labels=labels)
    half = mean_of(scored(tmp_path / "half", ignoring), "mean")
    record_property("whole truth and half of it ignored", (full, half))
    assert full > 0.85
    assert full - half < 0.06


KINDS = {
    "slices": (["dims=2", "patch=[16, 16]", "training.batch=12"], {}),
    "volumes smaller than the patch": (["patch=[32, 32, 32]"], {"shape": (20, 24, 18)}),
    "thick slices": (["patch=[16, 16, 8]"], {"shape": (28, 28, 9), "spacing": (2.0, 2.0, 6.0)}),
}


@pytest.mark.slow
@pytest.mark.parametrize(("changes", "scan"), KINDS.values(), ids=KINDS)
def test_every_kind_of_scan_is_learnt(tmp_path, changes, scan):
    cohort = divided(tiny_cohort(tmp_path / "data", cases=8, **scan))
    rows = scored(tmp_path, cohort, ["training.steps=200", *changes])
    assert mean_of(rows, "mean") > 0.75


@pytest.mark.slow
def test_a_tumour_seen_in_several_channels_is_learnt_by_regions(tmp_path, record_property):
    """Whole and core, painted in this order, of brain phantoms with a channel a sequence."""
    population = Population(anatomy="brain", modality="MR2", spacing_mm=8.0)
    cohort = load_cohort(write_phantom_cohort(tmp_path / "data", population, cases=16))
    assert cohort.channels == ("T1", "FLAIR")
    assert [region.name for region in cohort.labels.regions] == ["whole", "core"]
    changes = [
        "patch=[24, 24, 24]",
        "prepare.normalise=[{kind: zscore, nonzero: true}]",
        "infer.overlap=0.5",
        "training.steps=300",  # 60 voxels of 17,000 take a while
    ]
    rows = scored(tmp_path, cohort, changes)
    whole, core = mean_of(rows, "whole"), mean_of(rows, "core")
    record_property("whole and core", (whole, core))
    assert whole > 0.6
    assert core > 0.5
    for row in rows:
        if row["metric"] == "dice" and row["label"] == "oedema":
            mask = read_labels(tmp_path / "masks" / f"{row['case']}.nii.gz")
            assert set(np.unique(mask.data)) <= {0, 1, 2}
