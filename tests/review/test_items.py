"""Which masks a review shows, with which scans, truths and scores."""

import shutil

import pytest

from medseg.errors import BadLabels, BadOutput
from medseg.evaluation.folders import labels_from_text
from medseg.review.items import Places, cohort_of, items_of
from medseg.review.ranking import ranked
from medseg.review.sources import evaluated, require_folder, scores_of
from tests.review.test_harvest import run


def test_scans_are_found_beside_the_masks_by_name(masks):
    _, items = items_of(Places(masks))
    assert [item.case for item in items] == ["case_0", "case_1", "case_2"]
    assert all(item.place.endswith(f"images/{item.case}.nii.gz") for item in items)


def test_scans_of_other_tools_names_and_places(masks, tmp_path):
    images, predictions = tmp_path / "imagesTs", tmp_path / "elsewhere" / "pred"
    images.mkdir()
    predictions.mkdir(parents=True)
    for number in range(2):
        shutil.copy(
            tmp_path / "images" / f"case_{number}.nii.gz", images / f"c{number}_0000.nii.gz"
        )
        shutil.copy(masks / f"case_{number}.nii.gz", predictions / f"c{number}.nii.gz")
    with pytest.raises(BadLabels, match="--labels"):
        items_of(Places(predictions))
    table = labels_from_text("liver=1,spleen=2")
    _, items = items_of(Places(predictions, images, labels=table))
    assert [item.place for item in items] == [str(images / f"c{k}_0000.nii.gz") for k in range(2)]


def test_scan_and_mask_side_by_side_in_one_folder(masks, tmp_path):
    folder = tmp_path / "together"
    folder.mkdir()
    shutil.copy(tmp_path / "images" / "case_0.nii.gz", folder / "a.nii.gz")
    shutil.copy(masks / "case_0.nii.gz", folder / "a_seg.nii.gz")
    _, (item,) = items_of(Places(folder, labels=labels_from_text("liver=1,spleen=2")))
    assert (item.case, item.place) == ("a_seg", str(folder / "a.nii.gz"))


def test_an_evaluation_knows_its_masks_and_puts_the_worst_first(masks, tmp_path):
    truths = tmp_path / "truths"
    shutil.copytree(masks, truths)
    shutil.copy(truths / "case_2.nii.gz", masks / "case_1.nii.gz")  # a little too large
    assert run("evaluate", masks, truths, "--output", tmp_path / "evaluation") == 0
    made_of = evaluated(tmp_path / "evaluation")
    assert made_of is not None and made_of.masks.resolve() == masks
    cohort = cohort_of(made_of.truths, None, made_of.root)
    scores = scores_of(tmp_path / "evaluation")
    _, items = items_of(Places(made_of.masks, cohort=cohort, scores=scores))
    first = ranked(items)[0]
    assert first.case == "case_1" and first.has_truth and 0.9 < first.dice < 1
    assert first.place.endswith("images/case_1.nii.gz")  # the truths name no scans


def test_what_is_no_folder_of_masks_is_refused(tmp_path):
    assert evaluated(tmp_path) is None
    with pytest.raises(BadOutput, match="no such folder"):
        require_folder(tmp_path / "absent")
    (tmp_path / "labels.yaml").write_text("labels: {a: 1}\n", encoding="utf-8")
    with pytest.raises(BadOutput, match="no masks"):
        items_of(Places(tmp_path))
