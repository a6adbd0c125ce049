"""What to annotate next: unsure, unlike, never a test patient, patients before second scans."""

from dataclasses import replace
from pathlib import Path

import pytest

from medseg.batch.entry import Recipe
from medseg.batch.ledger import open_ledger
from medseg.batch.task import Flag, Outcome, State, Task, Written
from medseg.errors import BadOutput
from medseg.labels import LabelTable
from medseg.manifests import Case, Cohort, Split
from medseg.review.choosing import choose_next
from medseg.review.items import Places, items_of
from medseg.review.ranking import ranked, with_volume_flags


def batch(folder: Path, facts: dict[str, tuple[float, float, tuple[Flag, ...]]]) -> Path:
    """A ledger of cases: confidence, volume in ml, flags."""
    folder.mkdir(exist_ok=True)
    ledger = open_ledger(folder)
    ledger.adopt(Recipe(("model",)))
    for case, (sure, ml, flags) in facts.items():
        ledger.add(Task(case, f"{case}.nii.gz", f"/scans/{case}.nii.gz", case, 1, None))
        (folder / f"{case}.nii.gz").write_bytes(b"mask")
        ledger.finish(
            Outcome(
                case,
                State.DONE,
                flags=flags,
                volumes_ml={"ball": ml},
                confidence={"ball": sure},
                written=Written(f"{case}.nii.gz", 4, 0, "0" * 64),
            )
        )
    ledger.close()
    (folder / "labels.yaml").write_text("labels: {ball: 1}\n", encoding="utf-8")
    return folder


def cohort(*rows: Case) -> Cohort:
    labels = LabelTable.from_card({"labels": {"ball": 1}})
    return Cohort("balls", "CT", ("CT",), labels, rows, Path())


def row(case, patient, split="train", label=None):
    return Case(case, patient, Split(split), None, {"CT": Path("x")}, label)


def test_the_unsure_come_first_with_their_reason(tmp_path):
    facts = {f"c{k}": (0.9, 10.0 + 0.01 * k, ()) for k in range(10)} | {"odd": (0.4, 10.0, ())}
    first = choose_next(cohort(), batch(tmp_path / "masks", facts), count=1)[0]
    assert first.case == "odd" and "unsure of ball (0.40, usually 0.90)" in first.reason


def test_a_guess_among_many_labels_does_not_rank_a_case(tmp_path):
    ledger = open_ledger(batch(tmp_path / "m", {"few": (0.4, 1.0, ()), "many": (0.4, 1.0, ())}))
    few, many = (
        replace(entry, confidence={f"label {k}": k / 99 for k in range(count)})
        for entry, count in zip(ledger.entries(), (7, 100), strict=True)
    )
    ledger.close()
    assert few.case_confidence == 0.0
    assert many.case_confidence == pytest.approx(12 / 99)
    assert replace(few, confidence={}).case_confidence is None


def test_two_of_a_kind_are_not_chosen_one_after_the_other(tmp_path):
    facts = {f"c{k}": (0.9, 10.0, ()) for k in range(10)}
    facts |= {"twin_a": (0.40, 10.0, ()), "twin_b": (0.41, 10.0, ()), "large": (0.42, 80.0, ())}
    chosen = [one.case for one in choose_next(cohort(), batch(tmp_path / "m", facts), count=2)]
    assert "large" in chosen and len({"twin_a", "twin_b"} & set(chosen)) == 1


def test_test_patients_and_labelled_cases_are_never_proposed(tmp_path):
    facts = {f"c{k}": (0.1 * k, 10.0 + k, ()) for k in range(8)}
    table = cohort(
        row("c0", "A", "test"),
        row("x", "B", "test"),
        row("c1", "B"),
        row("c2", "C", label=Path("m")),
        row("c3", "D"),
    )
    chosen = {one.case for one in choose_next(table, batch(tmp_path / "m", facts), count=99)}
    assert chosen == {"c3", "c4", "c5", "c6", "c7"}


def test_a_test_row_is_known_under_the_names_that_tools_give(tmp_path):
    facts = {"c0_0000": (0.1, 10.0, ()), "c1_seg": (0.2, 12.0, ()), "c2": (0.9, 11.0, ())}
    facts |= {"c3_seg": (0.1, 9.0, ()), "c3_pred": (0.1, 9.0, ())}  # which of them is not clear
    table = cohort(row("c0", "A", "test"), row("c1", "B", label=Path("m")), row("c3", "C", "test"))
    chosen = [one.case for one in choose_next(table, batch(tmp_path / "m", facts), count=9)]
    assert chosen == ["c2"]


def test_every_patient_comes_before_a_second_scan_of_one(tmp_path):
    facts = {"a1": (0.1, 1.0, ()), "a2": (0.15, 90.0, ())}
    facts |= {"b": (0.8, 10.0, ()), "c": (0.9, 11.0, ())}
    table = cohort(row("a1", "A"), row("a2", "A"), row("b", "B"), row("c", "C"))
    chosen = [one.case for one in choose_next(table, batch(tmp_path / "m", facts), count=4)]
    assert {chosen[0][0], chosen[1][0], chosen[2][0]} == {"a", "b", "c"} and chosen[3][0] == "a"


def test_nothing_left_is_said(tmp_path):
    folder = batch(tmp_path / "m", {"c": (0.5, 1.0, ())})
    with pytest.raises(BadOutput, match="every case"):
        choose_next(cohort(row("c", "A", "test")), folder, count=1)
    with pytest.raises(BadOutput, match="no masks of medseg segment"):
        choose_next(cohort(), tmp_path, count=1)


def test_a_review_of_a_batch_begins_with_flags_then_the_unsure(tmp_path):
    rare = Flag("pieces", "ball", "ball is in 3 pieces")
    facts = {f"c{k}": (0.9, 10.0, ()) for k in range(20)}
    facts |= {"flagged": (0.9, 10.0, (rare,)), "unsure": (0.3, 10.0, ()), "huge": (0.9, 99.0, ())}
    _, items = items_of(Places(batch(tmp_path / "m", facts)))
    order = [item.case for item in ranked(with_volume_flags(items))]
    assert set(order[:2]) == {"flagged", "huge"} and order[2] == "unsure"
    assert items[0].place.startswith("/scans/")
