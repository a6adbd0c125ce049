"""Masks that were accepted or corrected become train rows; the test part stays what it is."""

import csv

import pytest

from medseg.cli import main
from medseg.errors import BadCohort, BadLabels, BadOutput
from medseg.manifests import load_cohort
from medseg.review.desk import Desk, Review
from medseg.review.harvest import harvest
from medseg.review.items import Places, items_of
from medseg.review.remembered import Named, remember_places
from medseg.review.store import look_store, open_store
from tests.review.conftest import LABELS, masks_beside_scans


@pytest.fixture
def home(tmp_path):
    """Six cases; the cohort knows c0 (test), c1 (train, labelled), c2 (train, without a mask)."""
    masks_beside_scans(tmp_path, cases=6)
    rows = [
        "case,patient,split,fold,image,label",
        "case_0,P0,test,,images/case_0.nii.gz,",
        "case_1,P1,train,0,images/case_1.nii.gz,masks/case_1.nii.gz",
        "case_2,P2,train,1,images/case_2.nii.gz,",
    ]
    (tmp_path / "cohort.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    names = "".join(f"  {label.name!r}: {label.value}\n" for label in LABELS.labels)
    (tmp_path / "cohort.yaml").write_text(
        f"name: boxes\nmodality: CT\nchannels: [CT]\nlabels:\n{names}table: cohort.csv\n",
        encoding="utf-8",
    )
    return tmp_path


STROKE = {"tool": "paint", "plane": "axial", "position": 5, "runs": [40, 3], "label": 2}


def judge(home, verdicts, rater="ann", places=None):
    labels, items = items_of(places or Places(home / "masks"))
    desk = Desk(
        Review(home / "masks", home / "masks", labels, rater), items, open_store(home / "masks")
    )
    for case, verdict in verdicts.items():
        desk.judge(case, verdict, "")
    return desk


def taken(home, **options):
    return harvest(load_cohort(home / "cohort.yaml"), home / "masks", **options)


def test_accepted_masks_become_rows_and_everything_else_says_why_not(home):
    judge(
        home,
        {
            "case_0": "accept",
            "case_1": "accept",
            "case_2": "accept",
            "case_3": "reject",
            "case_4": "edit",
            "case_5": "accept",
        },
    )
    found = taken(home)
    assert set(found.added) == {"case_2", "case_5"}
    assert "test row" in found.left_out["case_0"]
    assert "mask already" in found.left_out["case_1"]
    assert found.left_out["case_3"] == "rejected"
    assert "no corrected mask" in found.left_out["case_4"]
    assert found.cohort.case("case_0") == load_cohort(home / "cohort.yaml").case("case_0")
    new = found.cohort.case("case_5")
    assert (new.split.value, new.fold) == ("train", 0)  # folds have one patient each: the first
    assert new.images["CT"] == (home / "images" / "case_5.nii.gz").absolute()


def test_a_corrected_mask_comes_instead_of_the_prediction(home):
    desk = judge(home, {})
    desk.edit("case_4", STROKE)
    desk.save("case_4")
    row = taken(home).cohort.case("case_4")
    assert row.label == (home / "masks" / "corrected" / "case_4.nii.gz").resolve()
    (home / "masks" / "corrected" / "case_4.nii.gz").write_bytes(b"edited elsewhere")
    assert "changed since" in taken(home).left_out["case_4"]


def test_a_scan_of_the_test_part_under_another_name_is_left_out(home):
    content = (home / "images" / "case_0.nii.gz").read_bytes()
    (home / "images" / "case_3.nii.gz").write_bytes(content)
    judge(home, {"case_3": "accept"})
    assert "test part" in taken(home).left_out["case_3"]


@pytest.mark.parametrize("copies", [("case_3", "case_4"), ("case_4", "case_3", "case_5")])
def test_of_many_copies_of_a_test_scan_none_is_learnt(home, copies):
    content = (home / "images" / "case_0.nii.gz").read_bytes()
    for case in copies:
        (home / "images" / f"{case}.nii.gz").write_bytes(content)
    judge(home, dict.fromkeys(copies, "accept"))
    found = taken(home)
    assert not found.added and all("test part" in found.left_out[case] for case in copies)


def test_a_train_row_that_is_a_copy_of_a_test_scan_gets_no_mask(home):
    content = (home / "images" / "case_0.nii.gz").read_bytes()
    (home / "images" / "case_2.nii.gz").write_bytes(content)
    judge(home, {"case_2": "accept"})
    found = taken(home)
    assert "test part" in found.left_out["case_2"]
    assert found.cohort.case("case_2").label is None


def test_nothing_is_learnt_while_a_test_scan_cannot_be_compared(home):
    judge(home, {"case_2": "accept", "case_5": "accept"})
    (home / "images" / "case_0.nii.gz").unlink()
    found = taken(home)
    assert not found.added and "--root" in found.left_out["case_5"]


def test_masks_of_other_names_are_those_of_their_rows(home):
    for case in range(6):
        mask = home / "masks" / f"case_{case}.nii.gz"
        mask.rename(mask.with_name(f"case_{case}_seg.nii.gz"))
    judge(home, {"case_0_seg": "accept", "case_2_seg": "accept", "case_5_seg": "accept"})
    found = taken(home)
    assert "test row" in found.left_out["case_0_seg"]
    assert found.cohort.case("case_2").label.name == "case_2_seg.nii.gz"
    assert (
        set(found.added) == {"case_2_seg", "case_5_seg"} and "case_2" in found.added["case_2_seg"]
    )


def test_two_masks_that_may_be_of_one_row_are_left_out(home):
    content = (home / "masks" / "case_0.nii.gz").read_bytes()
    (home / "masks" / "case_0.nii.gz").unlink()
    for name in ("case_0_seg", "case_0_pred"):
        (home / "masks" / f"{name}.nii.gz").write_bytes(content)
    judge(home, {"case_0_seg": "accept", "case_0_pred": "accept"})
    found = taken(home)
    assert not found.added and set(found.left_out) == {"case_0_seg", "case_0_pred"}


def test_scans_and_labels_that_the_review_was_opened_with_are_known(home):
    (home / "images").rename(home / "elsewhere")
    (home / "masks" / "labels.yaml").unlink()
    table = (home / "cohort.csv").read_text(encoding="utf-8").replace("images/", "elsewhere/")
    (home / "cohort.csv").write_text(table, encoding="utf-8")
    places = Places(home / "masks", home / "elsewhere", labels=LABELS)
    desk = judge(home, {"case_5": "accept"}, places=places)
    remember_places(desk.store, Named(home / "masks", LABELS, scans=home / "elsewhere"))
    remember_places(desk.store, Named(home / "masks", LABELS))  # opened again without
    row = taken(home).cohort.case("case_5")
    assert row.images["CT"] == home / "elsewhere" / "case_5.nii.gz"


def test_scans_of_a_card_that_the_review_was_opened_with_are_known(home):
    (home / "images").rename(home / "elsewhere")
    table = (home / "cohort.csv").read_text(encoding="utf-8").replace("images/", "elsewhere/")
    (home / "cohort.csv").write_text(table, encoding="utf-8")
    card = (home / "cohort.yaml").read_text(encoding="utf-8")
    (home / "all.yaml").write_text(card.replace("cohort.csv", "all.csv"), encoding="utf-8")
    table += "case_5,P5,train,1,elsewhere/case_5.nii.gz,\n"
    (home / "all.csv").write_text(table, encoding="utf-8")
    desk = judge(home, {"case_5": "accept"})
    remember_places(desk.store, Named(home / "masks", LABELS, truth=home / "all.yaml"))
    row = taken(home).cohort.case("case_5")
    assert row.images["CT"] == home / "elsewhere" / "case_5.nii.gz"


def test_what_is_accepted_after_mending_is_the_mended_mask(home):
    desk = judge(home, {})
    desk.edit("case_4", STROKE)
    desk.save("case_4")
    assert desk.judge("case_4", "accept", "")["verdict"] == "edit"
    found = taken(home)
    assert found.cohort.case("case_4").label.parent.name == "corrected"


def test_a_scan_of_a_train_patient_joins_that_patient_and_fold(home):
    content = (home / "images" / "case_2.nii.gz").read_bytes()
    (home / "images" / "case_3.nii.gz").write_bytes(content)
    judge(home, {"case_3": "accept"})
    row = taken(home).cohort.case("case_3")
    assert (row.patient, row.fold) == ("P2", 1)


def test_a_table_says_who_is_who(home):
    table = home / "who.csv"
    table.write_text("case,patient\ncase_3,P0\ncase_4,P1\ncase_5,P9\n", encoding="utf-8")
    judge(home, dict.fromkeys(["case_3", "case_4", "case_5"], "accept"))
    found = taken(home, patients=table)
    assert "test part" in found.left_out["case_3"]
    assert found.cohort.case("case_4").fold == 0 and found.cohort.case("case_5").patient == "P9"
    table.write_text("id\n1\n", encoding="utf-8")
    with pytest.raises(BadCohort, match="who is who"):
        taken(home, patients=table)


def test_raters_who_differ_are_left_out_until_one_is_chosen(home):
    judge(home, {"case_5": "accept"}, "ann")
    judge(home, {"case_5": "reject"}, "ben")
    assert taken(home).left_out == {"case_5": "rejected"}
    assert set(taken(home, rater="ann").added) == {"case_5"}


def test_a_mask_that_was_made_again_since_is_left_out(home):
    judge(home, {"case_5": "accept"})
    (home / "masks" / "case_5.nii.gz").write_bytes((home / "masks" / "case_4.nii.gz").read_bytes())
    assert "made again" in taken(home).left_out["case_5"]


def test_strokes_that_are_not_in_the_corrected_mask_are_never_forgotten(home):
    desk = judge(home, {})
    desk.edit("case_5", STROKE)
    desk.save("case_5")
    assert set(taken(home).added) == {"case_5"}
    desk.edit("case_5", {**STROKE, "position": 6})
    assert "not saved" in taken(home).left_out["case_5"]
    desk.save("case_5")
    (home / "masks" / "case_5.nii.gz").write_bytes((home / "masks" / "case_4.nii.gz").read_bytes())
    assert "made again" in taken(home).left_out["case_5"]


def test_a_review_is_only_read(home):
    """Its folder may be read-only."""
    judge(home, {"case_5": "accept"}).store.close()
    with pytest.raises(BadOutput, match="readonly"):
        look_store(home / "masks").remember("key", "value")
    before = {path: path.stat().st_mtime_ns for path in (home / "masks").rglob("*")}
    assert set(taken(home).added) == {"case_5"}
    assert {path: path.stat().st_mtime_ns for path in (home / "masks").rglob("*")} == before


def test_labels_that_mean_something_else_are_refused(home):
    judge(home, {"case_5": "accept"})
    card = (home / "cohort.yaml").read_text(encoding="utf-8")
    (home / "cohort.yaml").write_text(card.replace("'liver': 1", "'liver': 7"), encoding="utf-8")
    with pytest.raises(BadLabels, match="liver = 1"):
        taken(home)


def test_a_folder_without_a_review_is_refused(home):
    with pytest.raises(BadOutput, match="no review here"):
        taken(home)


def test_the_verb_rewrites_the_table_and_says_every_row(home, capsys):
    judge(home, {"case_0": "accept", "case_5": "accept"})
    assert run("cohort", "add", home / "cohort.yaml", "--from", home / "masks") == 0
    said = capsys.readouterr().out
    assert "left out  case_0: a test row" in said and "added     case_5: accepted by ann" in said
    with (home / "cohort.csv").open(encoding="utf-8") as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    assert rows["case_5"]["label"] == "masks/case_5.nii.gz" and rows["case_0"]["label"] == ""
    assert run("cohort", "add", home / "cohort.yaml", "--from", home / "masks") == 1


def run(*arguments) -> int:
    """The exit code of a verb."""
    import sys
    from unittest.mock import patch

    with patch.object(sys, "argv", ["medseg", *map(str, arguments)]):
        try:
            return main() or 0
        except SystemExit as ending:
            return int(ending.code or 0)
