"""From folders to scores: pairing by name, rules for what is missing, leaks, folds, other grids."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

from medseg.config import EvaluateConfig
from medseg.errors import BadCohort, BadConfig, BadLabels, BadOutput
from medseg.evaluation import evaluate, problems, read_scores, summarise, translation, write_scores
from medseg.evaluation.scores import COLUMNS
from medseg.evaluation.subgroups import covariates_of
from medseg.labels import LabelTable
from medseg.manifests import load_cohort, read_case
from medseg.metrics import METRICS
from medseg.volume import pixel_hash
from tests.evaluation.cohorts import (
    AFFINE,
    LABELS,
    SHAPE,
    make_cohort,
    predict,
    save,
    shifted,
    truth_of,
)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return make_cohort(tmp_path_factory.mktemp("cohort"))


def value(scores, case, label, metric="dice"):
    rows = scores.table.set_index(["case", "label", "metric"])
    return rows.loc[(case, label, metric), "value"]


def test_a_perfect_prediction_scores_1(cohort, tmp_path):
    scores = evaluate(predict(cohort, tmp_path / "p"), cohort)
    assert list(scores.table.columns) == list(COLUMNS)
    assert set(scores.table.loc[scores.table["metric"] == "dice", "value"]) == {1.0}
    assert set(scores.table["label"]) == {"liver", "spleen", "mean"}
    assert list(scores.table["metric"].unique()) == list(METRICS)
    assert (scores.cases["status"] == "scored").all()
    assert problems(scores) == []


def test_scores_are_those_of_the_metrics(cohort, tmp_path):
    scores = evaluate(predict(cohort, tmp_path / "p", shifted), cohort)
    for number in range(3):
        truth, found = truth_of(number) == 4, shifted(truth_of(number)) == 4
        for name, metric in METRICS.items():
            expected = metric.compute(truth, found, (1.5, 1.5, 2.0))
            assert value(scores, f"c{number}", "spleen", name) == pytest.approx(expected, abs=1e-9)


def test_the_mean_row_is_over_the_labels_of_the_case(cohort, tmp_path):
    scores = evaluate(predict(cohort, tmp_path / "p", shifted), cohort)
    both = value(scores, "c2", "liver"), value(scores, "c2", "spleen")
    assert value(scores, "c2", "mean") == pytest.approx(sum(both) / 2)


def test_labels_are_matched_by_name_not_by_value(cohort, tmp_path):
    def renumbered(mask):
        return np.choose(np.minimum(mask, 2), [0, 7, 3]).astype(np.uint8)

    folder = predict(cohort, tmp_path / "p", renumbered, labels={"spleen": 3, "liver": 7})
    assert value(evaluate(folder, cohort), "c0", "mean") == 1.0


@pytest.mark.parametrize("order", "CF")
def test_values_are_translated_chunk_by_chunk_in_either_memory_order(monkeypatch, order):
    monkeypatch.setattr(translation, "CHUNK_VOXELS", 100)
    theirs = LabelTable.from_card({"labels": {"spleen": 1, "liver": 300}, "ignore": 7})
    ours = LabelTable.from_card({"labels": LABELS})
    values = np.random.default_rng(0).choice([0, 1, 7, 300], size=(9, 8, 7)).astype(np.uint16)
    found = translation.same_names(np.array(values, order=order), theirs, ours, path="p")
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.select([values == 1, values == 300], [4, 1]))


def test_labels_that_the_prediction_does_not_know_score_0_and_are_named(cohort, tmp_path):
    folder = predict(
        cohort,
        tmp_path / "p",
        lambda m: (m == 1).astype(np.uint8) * 2,
        labels={"liver": 2, "kidney": 5},
    )
    scores = evaluate(folder, cohort)
    assert value(scores, "c0", "spleen") == 0.0
    assert value(scores, "c0", "liver") == 1.0
    told = " ".join(problems(scores))
    assert "spleen" in told
    assert "kidney" in told


def test_predictions_without_a_label_table_are_refused_or_named(cohort, tmp_path):
    folder = predict(cohort, tmp_path / "p")
    (folder / "labels.yaml").unlink()
    with pytest.raises(BadLabels, match="--labels"):
        evaluate(folder, cohort)
    foreign = LabelTable.from_card({"labels": LABELS})
    assert value(evaluate(folder, cohort, labels=foreign), "c0", "mean") == 1.0


def test_a_value_that_no_label_names_is_refused_for_its_case_only(cohort, tmp_path):
    folder = predict(cohort, tmp_path / "p")
    save(np.where(truth_of(3) == 1, 9, 0).astype(np.uint8), folder / "c3.nii.gz")
    scores = evaluate(folder, cohort)
    assert scores.with_status("refused") == ("c3",)
    assert "9" in scores.cases.set_index("case").loc["c3", "reason"]
    assert value(scores, "c3", "liver") == 0.0
    assert np.isnan(value(scores, "c3", "liver", "hd95"))
    assert value(scores, "c4", "liver") == 1.0


def test_a_missing_prediction_lowers_the_mean_and_is_named(cohort, tmp_path):
    folder = predict(cohort, tmp_path / "p")
    (folder / "c5.nii.gz").unlink()
    scores = evaluate(folder, cohort)
    summary = summarise(scores).set_index(["label", "metric"])
    assert summary.loc[("liver", "dice"), "mean"] == pytest.approx(7 / 8)
    assert summary.loc[("liver", "dice"), "missing"] == 1
    assert summary.loc[("liver", "dice"), "undefined"] == 0
    assert summary.loc[("liver", "hd95"), "undefined"] == 1
    assert summary.loc[("liver", "hd95"), "n"] == 7
    assert np.isnan(value(scores, "c5", "liver", "volume_error_ml"))
    assert value(scores, "c5", "liver", "truth_ml") > 0
    assert any("c5" in line and "missing" in line for line in problems(scores))


def test_two_predictions_of_one_case_are_refused(cohort, tmp_path):
    folder = predict(cohort, tmp_path / "p")
    save(truth_of(1), folder / "c1.nii")
    with pytest.raises(BadOutput, match=r"c1\.nii"):
        evaluate(folder, cohort)


def test_a_label_called_mean_is_not_mixed_with_the_mean(tmp_path):
    own = make_cohort(tmp_path / "c", 4, extra={"labels": {"mean": 1, "spleen": 4}})
    folder = predict(
        own,
        tmp_path / "p",
        lambda m: np.where(m == 1, 1, 0).astype(np.uint8),
        labels={"mean": 1, "spleen": 4},
    )
    scores = evaluate(folder, own)
    assert value(scores, "c0", "mean (label)") == 1.0
    assert value(scores, "c0", "mean") == 0.5


def test_predictions_of_other_cases_are_counted_and_named(cohort, tmp_path):
    folder = predict(cohort, tmp_path / "p")
    save(truth_of(0), folder / "somebody.nii.gz")
    scores = evaluate(folder, cohort)
    assert scores.about["extra_predictions"] == ["somebody"]
    assert "somebody" in " ".join(problems(scores))


def test_empty_masks_follow_the_rules(cohort, tmp_path):
    """No spleen in the truth of c0 and c1; predicted in c0 alone; no spleen predicted in c2."""
    folder = tmp_path / "cohort"
    own = make_cohort(folder, 4)
    for name in ("c0", "c1"):
        save(
            np.where(truth_of(int(name[1])) == 1, 1, 0).astype(np.uint8),
            folder / f"labels/{name}.nii.gz",
        )
    predictions = predict(own, tmp_path / "p")
    for name in ("c1", "c2"):
        save(
            np.where(truth_of(int(name[1])) == 1, 1, 0).astype(np.uint8),
            predictions / f"{name}.nii.gz",
        )
    scores = evaluate(predictions, own)
    assert value(scores, "c0", "spleen") == 0.0
    assert np.isnan(value(scores, "c0", "spleen", "hd95"))
    false_positive_ml = (truth_of(0) == 4).sum() * 4.5 / 1000
    assert value(scores, "c0", "spleen", "volume_error_ml") == pytest.approx(false_positive_ml)
    notes = scores.table.set_index(["case", "label", "metric"])["note"]
    assert "ml false positive" in notes[("c0", "spleen", "dice")]
    assert np.isnan(value(scores, "c1", "spleen"))
    assert notes[("c1", "spleen", "dice")] == "both empty"
    assert value(scores, "c1", "mean") == 1.0  # over the one label that is defined
    assert value(scores, "c2", "spleen") == 0.0
    summary = summarise(scores).set_index(["label", "metric"])
    assert summary.loc[("spleen", "dice"), "undefined"] == 1
    assert summary.loc[("spleen", "dice"), "n"] == 3
    assert summary.loc[("spleen", "dice"), "mean"] == pytest.approx(1 / 3)


def test_a_prediction_on_another_grid_is_refused_unless_asked(cohort, tmp_path):
    folder = predict(cohort, tmp_path / "p")
    for case in cohort.select(split="test").cases:
        coarse = truth_of(int(case.case[1:]))[::2, ::2, ::2]
        affine = AFFINE @ np.diag([2, 2, 2, 1.0])
        save(coarse, folder / f"{case.case}.nii.gz", affine)
    with pytest.raises(BadOutput, match="resample-nearest"):
        evaluate(folder, cohort)
    scores = evaluate(folder, cohort, config=EvaluateConfig(other_grid="nearest"))
    assert 0.7 < value(scores, "c0", "liver") < 1.0
    assert "resampled" in scores.cases["reason"][0]
    assert scores.table["note"].str.contains("resampled").all()


def test_one_case_on_another_grid_stops_no_other(cohort, tmp_path):
    folder = predict(cohort, tmp_path / "p")
    moved = AFFINE.copy()
    moved[0, 3] += 3
    save(truth_of(2), folder / "c2.nii.gz", moved)
    scores = evaluate(folder, cohort)
    assert scores.with_status("refused") == ("c2",)
    assert value(scores, "c2", "mean") == 0.0
    assert len(scores.with_status("scored")) == 7


def test_a_mirrored_storage_order_is_another_grid_and_resampling_undoes_it(cohort, tmp_path):
    """The same anatomy, stored from the other end: nearest neighbour is exact here."""
    folder = predict(cohort, tmp_path / "p")
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = SHAPE[0] - 1
    save(truth_of(2)[::-1], folder / "c2.nii.gz", AFFINE @ flip)
    scores = evaluate(folder, cohort, config=EvaluateConfig(other_grid="nearest"))
    assert value(scores, "c2", "mean") == 1.0


def test_what_the_readers_accepted_of_truth_and_prediction_is_told(tmp_path):
    cohort = make_cohort(tmp_path / "data")
    folder = predict(cohort, tmp_path / "masks")
    for path in (folder / "c1.nii.gz", folder / "c2.nii.gz", cohort.root / "labels" / "c2.nii.gz"):
        image = nib.load(path)
        moved = AFFINE + 9 * np.eye(4, k=3)
        changed = nib.Nifti1Image(np.asanyarray(image.dataobj), AFFINE)
        changed.set_sform(AFFINE, 1)
        changed.set_qform(moved, 1)
        changed.to_filename(path)
    scores = evaluate(folder, cohort)
    told = scores.cases.set_index("case")["warnings"]
    assert told["c0"] == ""
    assert told["c1"].startswith("the prediction: sform and qform disagree by 9 mm")
    assert told["c2"].startswith("the truth: sform and qform") and "| the prediction" in told["c2"]
    lines = [line for line in problems(scores) if "sform" in line]
    assert [line.split(":")[0] for line in lines] == ["c1, c2", "c2"]
    assert "warnings" not in covariates_of(scores)


def test_a_planted_leak_is_refused_and_told_when_allowed(cohort, tmp_path):
    """The pixels of c6 under another name, type and storage order trained the model."""
    scan = read_case(cohort, cohort.case("c6"))
    renamed = tmp_path / "other_name.nii.gz"
    save(
        scan.data[0, ::-1].astype(np.float32),
        renamed,
        AFFINE @ np.array([[-1.0, 0, 0, SHAPE[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    )
    from medseg.scans import read

    run = {"training_pixels": [pixel_hash(read(renamed)), "0" * 64]}
    folder = predict(cohort, tmp_path / "p", run=run)
    with pytest.raises(BadCohort, match="c6"):
        evaluate(folder, cohort)
    scores = evaluate(folder, cohort, config=EvaluateConfig(leakage="tell"))
    assert scores.about["leaked"] == ["c6"]
    assert any("LEAKAGE" in line for line in problems(scores))
    assert "training_pixels" not in scores.about["run"]


def test_other_training_scans_are_no_leak(cohort, tmp_path):
    pixels = [pixel_hash(read_case(cohort, case)) for case in cohort.select(split="train").cases]
    path = cohort.case("c6").sources[0]
    save(np.full(SHAPE, 700, np.float32), path, AFFINE)  # blank, as a training scan was
    pixels[0] = pixel_hash(read_case(cohort, cohort.case("c6")))
    folder = predict(cohort, tmp_path / "p", run={"training_pixels": pixels})
    about = evaluate(folder, cohort).about
    assert about["leaked"] == []
    assert "4 training scans" in about["leakage"]


def test_an_evaluation_says_where_leakage_could_not_be_checked(cohort, tmp_path):
    assert "not checked" in evaluate(predict(cohort, tmp_path / "p"), cohort).about["leakage"]


def test_folds_are_gathered_and_guarded_each_by_its_own_model(cohort, tmp_path):
    train = cohort.select(split="train")
    for fold in (0, 1):
        others = [pixel_hash(read_case(cohort, c)) for c in train.select(not_fold=fold).cases]
        folder = tmp_path / "cv" / f"fold{fold}"
        predict(
            cohort,
            folder,
            shifted if fold else lambda m: m,
            split="train",
            run={"training_pixels": others},
        )
        for case in train.select(not_fold=fold).cases:
            (folder / f"{case.case}.nii.gz").unlink()
    scores = evaluate(tmp_path / "cv", cohort, split="folds")
    assert scores.about["folds"] == [0, 1]
    dice = scores.values("dice")["mean"]
    folds = scores.cases.set_index("case")["fold"]
    assert (dice[folds == "0"] == 1).all()
    assert (dice[folds == "1"] < 1).all()
    assert len(dice) == 4


def test_a_fold_predicted_by_a_model_that_saw_it_is_refused(cohort, tmp_path):
    pixels = [pixel_hash(read_case(cohort, case)) for case in cohort.select(split="train").cases]
    predict(cohort, tmp_path / "cv" / "fold0", split="train", run={"training_pixels": pixels})
    with pytest.raises(BadCohort, match="trained"):
        evaluate(tmp_path / "cv", cohort, split="folds")


def test_regions_are_scored_beside_labels(tmp_path):
    own = make_cohort(tmp_path / "c", 4, extra={"regions": {"whole": [1, 4], "spleen": [4]}})
    folder = predict(own, tmp_path / "p", lambda m: np.where(m > 0, 1, 0).astype(np.uint8))
    scores = evaluate(folder, own)
    assert scores.labels == ("liver", "spleen", "whole")
    assert value(scores, "c0", "whole") == 1.0
    assert value(scores, "c0", "spleen") == 0.0
    assert value(scores, "c0", "mean") == pytest.approx(value(scores, "c0", "liver") / 2)


def test_ignored_voxels_count_for_nobody(tmp_path):
    own = make_cohort(tmp_path / "c", 4, extra={"ignore": 255})
    truth = truth_of(0)
    truth[:10][truth[:10] > 0] = 255
    save(truth, tmp_path / "c/labels/c0.nii.gz")
    scores = evaluate(predict(own, tmp_path / "p"), own)
    assert value(scores, "c0", "liver") == 1.0
    assert value(scores, "c0", "liver", "truth_ml") == pytest.approx((truth == 1).sum() * 0.0045)


def test_tolerances_differ_by_label_and_are_told(cohort, tmp_path):
    config = EvaluateConfig(tolerance_mm=0.5, tolerances_mm={"spleen": 3.0})
    scores = evaluate(predict(cohort, tmp_path / "p", shifted), cohort, config=config)
    units = scores.table[scores.table["metric"] == "nsd"].groupby("label")["unit"].unique()
    assert units["liver"] == ["0.5 mm"]
    assert units["spleen"] == ["3 mm"]
    assert value(scores, "c0", "spleen", "nsd") == 1.0
    assert value(scores, "c0", "liver", "nsd") < 1.0


def test_several_processes_give_the_same_scores_in_the_same_order(cohort, tmp_path):
    folder = predict(cohort, tmp_path / "p", shifted)
    told = []
    one = evaluate(folder, cohort)
    two = evaluate(
        folder, cohort, workers=2, progress=lambda done, total=None, **_: told.append((done, total))
    )
    pd.testing.assert_frame_equal(one.table, two.table)
    assert told == [(n, 8) for n in range(1, 9)]


def test_scores_read_back_as_they_were_written(cohort, tmp_path):
    folder = predict(cohort, tmp_path / "p", shifted)
    (folder / "c1.nii.gz").unlink()
    scores = evaluate(folder, cohort)
    write_scores(scores, tmp_path / "out")
    again = read_scores(tmp_path / "out")
    pd.testing.assert_frame_equal(again.table, scores.table, check_dtype=False)
    assert again.config == scores.config
    assert yaml.safe_load((tmp_path / "out/evaluation.yaml").read_text())["about"]["cases"] == 8
    assert list(again.cases["status"]) == list(scores.cases["status"])


def test_a_card_s_path_will_do(cohort, tmp_path):
    folder = predict(cohort, tmp_path / "p")
    assert len(evaluate(str(folder), str(cohort.path)).cases) == 8


@pytest.mark.parametrize("wrong", ["validation", ""])
def test_an_unknown_split_is_refused(cohort, tmp_path, wrong):
    with pytest.raises(BadConfig, match="split"):
        evaluate(tmp_path, cohort, split=wrong)


def test_a_folder_without_predictions_is_refused(cohort, tmp_path):
    with pytest.raises(BadOutput, match="no such folder"):
        evaluate(tmp_path / "absent", cohort)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/labels.yaml").write_text(yaml.safe_dump({"labels": LABELS}))
    with pytest.raises(BadOutput, match="not one case"):
        evaluate(tmp_path / "empty", cohort)


def test_a_case_without_truth_is_unscored_and_stops_no_other(tmp_path):
    own = make_cohort(tmp_path / "c", 4)
    folder = predict(own, tmp_path / "p")
    (tmp_path / "c/labels/c1.nii.gz").unlink()
    scores = evaluate(folder, load_cohort(own.path))
    assert scores.with_status("unscored") == ("c1",)
    assert np.isnan(value(scores, "c1", "liver"))
    assert summarise(scores).set_index(["label", "metric"]).loc[("liver", "dice"), "n"] == 3


def test_a_sheared_grid_has_right_volumes_and_distances(tmp_path):
    """Gantry tilt: volume from the determinant, distances in the world."""
    sheared = AFFINE.copy()
    sheared[1, 2] = 0.7
    own = make_cohort(tmp_path / "c", 4)
    folder = predict(own, tmp_path / "p")
    for name in ("images", "labels"):
        array = np.asarray(nib.load(tmp_path / f"c/{name}/c0.nii.gz").dataobj)
        save(array, tmp_path / f"c/{name}/c0.nii.gz", sheared)
    save(shifted(truth_of(0)), folder / "c0.nii.gz", sheared)
    scores = evaluate(folder, own)
    steps = sheared[:3, :3]
    masks = truth_of(0) == 1, shifted(truth_of(0)) == 1
    for metric in ("hd95", "assd", "truth_ml"):
        assert value(scores, "c0", "liver", metric) == pytest.approx(
            METRICS[metric].compute(*masks, steps), rel=1e-5
        )
