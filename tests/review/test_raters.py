import numpy as np
import pytest

from medseg.review.raters import agreements, cohens_kappa, mean_dice
from medseg.review.store import Corrected, Judgement, Verdict


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
    (pair,) = agreements(judgements, corrected, lambda case, rater: masks.get((case, rater)))
    assert (pair.one, pair.other, pair.cases, pair.same, pair.edited) == ("ann", "ben", 4, 2, 1)
    assert pair.kappa == 0.0  # one of them always said the same: no more than chance
    assert pair.dice == pytest.approx(2 / 3)


def test_kappa_without_any_chance_to_differ_is_undefined():
    assert np.isnan(cohens_kappa([("accept", "accept")] * 5))
    assert np.isnan(cohens_kappa([]))
    assert cohens_kappa([("a", "b"), ("b", "a")]) == -1.0


def test_dice_over_labels_that_either_holds():
    assert mean_dice(np.zeros(3, int), np.zeros(3, int)) == 1.0
    assert mean_dice(np.array([1, 2]), np.array([1, 0])) == 0.5
