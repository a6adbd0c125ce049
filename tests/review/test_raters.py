import numpy as np
import pytest

from medseg.labels import LabelTable
from medseg.review.raters import agreements, cohens_kappa
from medseg.review.store import Corrected, Judgement, Verdict

LABELS = LabelTable.from_card({"labels": {"liver": 1, "spleen": 2}})


def said(case, rater, verdict):
    return Judgement(case, rater, Verdict(verdict), "", "0" * 64, "2026-01-01T00:00:00+00:00")


def test_two_raters_beside_each_other():
    judgements = [
        *(said(f"c{k}", "ann", "accept") for k in range(4)),
        *(said(f"c{k}", "ben", v) for k, v in enumerate(["accept", "accept", "reject", "edit"])),
        said("c0", "cy", ""),
    ]
    masks = {("c3", "ann"): np.array([1, 1, 0]), ("c3", "ben"): np.array([1, 0, 0])}
    corrected = {("c3", "ben"): Corrected("c3", "ben", "n", "", "", 1, 1, "")}
    (pair,) = agreements(
        judgements, corrected, lambda case, rater: masks.get((case, rater)), LABELS
    )
    assert (pair.one, pair.other, pair.cases, pair.same, pair.edited) == ("ann", "ben", 4, 2, 1)
    assert pair.kappa == 0.0  # one of them always said the same: no more than chance
    assert pair.dice == pytest.approx(2 / 3)


def test_kappa_without_any_chance_to_differ_is_undefined():
    assert np.isnan(cohens_kappa([("accept", "accept")] * 5))
    assert np.isnan(cohens_kappa([]))
    assert cohens_kappa([("a", "b"), ("b", "a")]) == -1.0


def dice_of(ann, ben, labels=None):
    judgements = [said("c", "ann", "edit"), said("c", "ben", "edit")]
    corrected = {
        ("c", rater): Corrected("c", rater, "n", "", "", 1, 1, "") for rater in ("ann", "ben")
    }
    masks = {"ann": np.array(ann), "ben": np.array(ben)}
    (pair,) = agreements(judgements, corrected, lambda case, rater: masks[rater], labels or LABELS)
    return pair.dice


def test_dice_over_labels_that_either_holds():
    assert np.isnan(dice_of([0, 0], [0, 0]))  # nothing to agree about, as in an evaluation
    assert dice_of([1, 2], [1, 0]) == 0.5


def test_what_either_rater_ignores_is_compared_with_nothing():
    ignoring = LabelTable.from_card({"labels": {"liver": 1, "spleen": 2}, "ignore": 255})
    assert dice_of([1, 1, 255, 0], [1, 255, 1, 0], ignoring) == 1.0
