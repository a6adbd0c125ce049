"""What is measured in the background: once, and of what files and labels are now."""

import os
import threading
import time

import nibabel as nib
import numpy as np
import pytest

from medseg.labels import LabelTable
from medseg.manifests import Case, Cohort, Split
from medseg.review import survey
from medseg.review.desk import Desk, Review
from medseg.review.items import Places, items_of
from medseg.review.store import open_store
from medseg.review.survey import measure_all, surveyed
from medseg.volume import LabelMap
from medseg.writers import write_labels
from tests.review.conftest import LABELS, oblique_grid

IGNORING = LabelTable.from_card(LABELS.to_card() | {"ignore": 255})


def desk_of(masks, cohort=None, labels=None):
    table, items = items_of(Places(masks, cohort=cohort, labels=labels))
    return Desk(Review(masks, masks, table, "ann"), items, open_store(masks))


def surveyed_rows(masks, **options):
    desk = desk_of(masks, **options)
    measure_all(desk, desk.items(), threading.Event())
    rows = {row["case"]: row for row in desk.overview()["cases"]}
    desk.store.close()
    return rows


def truths(masks, change=None, labelled=(), labels=LABELS):
    """A cohort whose truth of case_0 is its mask after a change."""
    grid = oblique_grid()
    data = np.asarray(nib.load(masks / "case_0.nii.gz").dataobj).copy()
    if change is not None:
        change(data)
    path = masks.parent / "truth.nii.gz"
    path.unlink(missing_ok=True)
    write_labels(LabelMap(data, grid, labels), path)
    case = Case("case_0", "P0", Split.TEST, None, {}, path, labelled=labelled)
    return Cohort("boxes", "CT", ("CT",), labels, (case,), masks)


def test_volumes_and_dice_of_masks_that_nobody_measured(masks):
    def lose_half_the_spleen(data):
        data[4:7, 25:32, 22:26][data[4:7, 25:32, 22:26] == 2] = 0

    row = surveyed_rows(masks, cohort=truths(masks, lose_half_the_spleen))["case_0"]
    assert row["volumes"]["spleen"] == pytest.approx(3 * 7 * 8 * 5.625 / 1000, rel=1e-3)
    assert row["dice"] == pytest.approx((1 + 2 * 84 / (84 + 168)) / 2, abs=1e-3)


def test_what_the_truth_ignores_or_was_not_drawn_for_is_not_scored(masks):
    def ignore_half_the_spleen(data):
        data[4:7, 25:32, 22:26][data[4:7, 25:32, 22:26] == 2] = 255

    def lose_the_spleen(data):
        data[data == 2] = 0

    ignored = truths(masks, ignore_half_the_spleen, labels=IGNORING)
    assert surveyed_rows(masks, cohort=ignored)["case_0"]["dice"] == 1.0
    partly = truths(masks, lose_the_spleen, labelled=("liver",))
    assert surveyed_rows(masks, cohort=partly)["case_0"]["dice"] == 1.0
    assert surveyed_rows(masks, cohort=truths(masks, lose_the_spleen))["case_0"]["dice"] == 0.5


def test_a_mask_that_could_not_be_read_is_measured_next_time(masks):
    mask = masks / "case_0.nii.gz"
    content, status = mask.read_bytes(), mask.stat()
    mask.write_bytes(b"x" * len(content))
    os.utime(mask, ns=(status.st_atime_ns, status.st_mtime_ns))
    row = surveyed_rows(masks)["case_0"]
    assert [flag[0] for flag in row["flags"]] == ["unreadable"]
    assert [flag[0] for flag in surveyed_rows(masks)["case_0"]["flags"]] == ["unreadable"]
    mask.write_bytes(content)
    os.utime(mask, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert surveyed_rows(masks)["case_0"]["volumes"]["liver"] > 0


def test_other_names_for_the_values_are_measured_again(masks):
    assert surveyed_rows(masks)["case_0"]["volumes"]["liver"] > 0
    turned = LabelTable.from_card({"labels": {"spleen": 1, "liver": 2, "other": 3}})
    volumes = surveyed_rows(masks, labels=turned)["case_0"]["volumes"]
    before = surveyed_rows(masks)["case_0"]["volumes"]
    assert (volumes["spleen"], volumes["liver"]) == (before["liver"], before["spleen"])


def test_what_was_measured_is_not_read_again(masks, monkeypatch):
    before = surveyed_rows(masks)
    monkeypatch.setattr(survey, "measure", lambda *_: pytest.fail("read again"))
    assert surveyed_rows(masks) == before


def test_nothing_is_measured_once_the_review_has_ended(masks, monkeypatch):
    desk, begun, let = desk_of(masks), threading.Event(), threading.Event()
    measured = []

    def slow(item, labels):
        begun.set()
        let.wait(20)
        time.sleep(0.2)  # the review ends meanwhile
        measured.append(item.case)
        return survey.replace(item, volumes_ml={"liver": 1.0})

    monkeypatch.setattr(survey, "measure", slow)
    with surveyed(desk):
        assert begun.wait(20)
        let.set()
    assert measured == [desk.items()[0].case]  # that one is finished, no other begun
    desk.store.close()
    assert not [t for t in threading.enumerate() if t.name.endswith("(_get_ready)")]
