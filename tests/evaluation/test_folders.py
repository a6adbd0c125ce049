"""Two folders or two files, without a card: names matched, labels named."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from medseg.errors import BadLabels, BadOutput
from medseg.evaluation import evaluate, problems
from medseg.evaluation.folders import labels_from_text
from medseg.evaluation.matching import core_name, match_names
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.volume import LabelMap
from medseg.writers import write_labels
from tests.evaluation.cohorts import LABELS, save, shifted, truth_of

TEXT = "liver=1,spleen=4"


def folder_of(folder, names, change=lambda mask: mask):
    for number, name in enumerate(names):
        save(change(truth_of(number)), folder / f"{name}.nii.gz")
    return folder


@pytest.mark.parametrize(
    ("truths", "masks"),
    [
        (["a", "b"], ["a", "b"]),
        (["a", "b"], ["a_0000", "b_0000"]),
        (["a_0000", "b_0000"], ["a", "b"]),
        (["a_gt", "b_gt"], ["a_pred", "b_pred"]),
        (["sub-1_dseg", "sub-2_dseg"], ["sub-1", "sub-2"]),
        (["img01", "img02"], ["msk01", "msk02"]),
        (["Müller", "张伟"], ["Müller_seg", "张伟_seg"]),
    ],
)
def test_names_meet_with_and_without_what_tools_add(tmp_path, truths, masks):
    folders = folder_of(tmp_path / "p", masks), folder_of(tmp_path / "t", truths)
    scores = evaluate(*folders, labels=labels_from_text(TEXT))
    assert (scores.values("dice")["mean"] == 1.0).all()
    assert list(scores.cases["case"]) == sorted(truths)


def test_what_was_not_matched_is_named_on_both_sides(tmp_path):
    predictions = folder_of(tmp_path / "p", ["a", "b", "odd"])
    truths = folder_of(tmp_path / "t", ["a", "b", "other"])
    lines = " ".join(problems(evaluate(predictions, truths, labels=labels_from_text(TEXT))))
    assert "odd" in lines
    assert "other" in lines


def test_names_that_never_meet_are_shown_side_by_side(tmp_path):
    predictions, truths = folder_of(tmp_path / "p", ["x1"]), folder_of(tmp_path / "t", ["y2"])
    with pytest.raises(BadOutput, match=r"x1.*y2"):
        evaluate(predictions, truths, labels=labels_from_text(TEXT))


def test_two_masks_that_could_both_be_meant_are_not_guessed_between():
    assert match_names(["c"], ["c_0000", "c_0001"]) == {}
    assert match_names(["c", "c_gt"], ["c_0000"]) == {}
    assert match_names(["c", "c_seg"], ["c", "c_seg"]) == {"c": "c", "c_seg": "c_seg"}


def test_a_name_that_is_all_suffix_keeps_itself():
    assert core_name("_0000") == "_0000"
    assert core_name("mask") == "mask"


def test_two_files_need_no_common_name(tmp_path):
    save(truth_of(0), tmp_path / "truth.nii.gz")
    save(shifted(truth_of(0)), tmp_path / "model output.nii.gz")
    scores = evaluate(
        tmp_path / "model output.nii.gz",
        tmp_path / "truth.nii.gz",
        labels=labels_from_text(TEXT),
    )
    assert 0.5 < scores.values("dice").loc["truth", "liver"] < 1


def test_labels_are_named_by_the_folders_themselves(tmp_path):
    truths = folder_of(tmp_path / "t/labelsTs", ["a"])
    predictions = folder_of(tmp_path / "p", ["a"], lambda mask: np.where(mask == 4, 2, mask))
    (predictions / "labels.yaml").write_text(yaml.safe_dump({"labels": {"liver": 1, "spleen": 2}}))
    dataset = {"labels": {"background": 0, "liver": 1, "spleen": 4, "ignore": 9}}
    (tmp_path / "t/dataset.json").write_text(json.dumps(dataset))
    assert (evaluate(predictions, truths).values("dice")["mean"] == 1.0).all()
    (truths / "labels.yaml").write_text(yaml.safe_dump({"labels": LABELS}))
    (tmp_path / "t/dataset.json").unlink()
    assert (evaluate(predictions, truths).values("dice")["mean"] == 1.0).all()


def test_nothing_is_scored_on_an_unnamed_integer(tmp_path):
    predictions, truths = folder_of(tmp_path / "p", ["a"]), folder_of(tmp_path / "t", ["a"])
    with pytest.raises(BadLabels, match="--labels liver=1"):
        evaluate(predictions, truths)


@pytest.mark.parametrize("text", ["liver", "liver=", "=1", "liver=x", "a=1,a=2", "a=1,,b=2"])
def test_a_list_of_labels_that_is_none_is_refused(text):
    with pytest.raises(BadLabels, match="liver=1,tumour=2"):
        labels_from_text(text)


def test_segmentations_of_slicer_say_themselves_what_they_hold(tmp_path):
    grid = Geometry(truth_of(0).shape, np.eye(4))
    orders = {"t": {"liver": 1, "spleen": 4}, "p": {"spleen": 1, "liver": 2}}
    for folder, order in orders.items():
        (tmp_path / folder).mkdir()
        table = np.zeros(5, np.uint8)
        table[1], table[4] = order["liver"], order["spleen"]
        mask = LabelMap(table[truth_of(0)], grid, LabelTable.from_card({"labels": order}))
        write_labels(mask, tmp_path / folder / "a.seg.nrrd", format="slicer")
    scores = evaluate(tmp_path / "p", tmp_path / "t")
    assert (scores.values("dice")[["liver", "spleen"]] == 1.0).all(axis=None)
    save(truth_of(0), tmp_path / "p/b.nii.gz")  # it names nothing
    with pytest.raises(BadLabels, match="nothing says what the values"):
        evaluate(tmp_path / "p", tmp_path / "t")
