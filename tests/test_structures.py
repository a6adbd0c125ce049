"""What is usual is learnt from training truths: their like is not flagged, faults are."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.model.structures import (
    CUT_SHARE,
    ENOUGH_CASES,
    Structure,
    learn_limits,
    measure,
    widest,
)

LABELS = LabelTable.from_card({"labels": {"ball": 1, "box": 3}})


def box_at(start, stop, *, shape=(20, 24, 8), spacing=(1.0, 1.0, 5.0), signs=(1, 1, 1)):
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = 3
    affine = np.diag([*(s * mm for s, mm in zip(signs, spacing, strict=True)), 1.0])
    return measure(mask, Geometry(shape, affine), LABELS)


def test_volume_faces_and_pieces_are_those_on_paper():
    found = box_at((4, 5, 0), (14, 11, 3))
    assert found["ball"] == Structure()
    assert found["box"].volume_ml == pytest.approx(10 * 6 * 3 * 5 / 1000)
    assert found["box"].cuts == (0, 0, 0, 0, 1, 0)  # the low end through plane
    assert found["box"].pieces == 1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_faces_do_not_depend_on_how_a_scan_is_stored(axis):
    signs = [1, 1, 1]
    signs[axis] = -1
    start, stop = np.array((0, 5, 2)), np.array((14, 11, 8))
    shape = np.array((20, 24, 8))
    turned = start.copy(), stop.copy()
    turned[0][axis], turned[1][axis] = shape[axis] - stop[axis], shape[axis] - start[axis]
    assert box_at(*turned, signs=signs)["box"].cuts == box_at(start, stop)["box"].cuts


def usual(volume=10.0, top=0.0, pieces=1):
    return {"box": Structure(volume, (0.0,) * 5 + (top,), pieces)}


def test_a_structure_that_the_stack_cuts_in_training_may_be_cut_there_and_nowhere_else():
    limits = learn_limits([usual(top=0.6 + 0.02 * n) for n in range(20)])["box"]
    assert max(limits.cuts[:5]) < 0.3, "what the farthest case needed is granted everywhere"
    assert limits.cuts[5] >= 0.98


def test_a_structure_that_is_never_cut_in_training_may_not_be():
    assert learn_limits([usual() for _ in range(20)])["box"].cuts == (CUT_SHARE,) * 6


def test_a_paired_organ_may_come_in_two_pieces():
    assert learn_limits([usual(pieces=2) for _ in range(20)])["box"].pieces == 2
    assert learn_limits([usual(pieces=1) for _ in range(20)])["box"].pieces == 1


def test_a_structure_that_training_cases_lack_may_be_absent():
    cases = [usual(volume=10.0 + n) for n in range(20)]
    assert learn_limits(cases)["box"].volume_ml[0] > 5
    assert learn_limits([*cases, {"box": Structure()}])["box"].volume_ml[0] == 0


def test_truths_that_were_not_drawn_for_a_label_say_nothing_of_it():
    cases = [usual(volume=10.0 + n) for n in range(20)]
    with_it, without = (learn_limits(each)["box"] for each in ([*cases, {}], cases))
    assert with_it.volume_ml == pytest.approx(without.volume_ml, rel=0.02)
    assert (with_it.cuts, with_it.pieces) == (without.cuts, without.pieces)


def test_from_too_few_cases_nothing_is_learnt():
    assert learn_limits([usual()] * (ENOUGH_CASES - 1)) == {}
    for nothing in ({}, {"box": Structure()}):  # scribbles that say no volume, or none in sight
        assert learn_limits([nothing] * ENOUGH_CASES) == {}


def test_an_ensemble_finds_usual_what_any_of_its_models_does():
    one, other = (
        learn_limits([usual(volume, top, n)] * 20)
        for volume, top, n in ((5.0, 0.9, 1), (20.0, 0.0, 3))
    )
    both = widest([one, other])["box"]
    assert both.volume_ml == (one["box"].volume_ml[0], other["box"].volume_ml[1])
    assert both.cuts[5] >= 0.9
    assert both.pieces == 3


def many_labels(rng):
    """A function that draws cases of one cohort: forty labels, half of them cut at the top."""
    middle, spread = rng.uniform(1, 100, 40), rng.uniform(0.02, 0.6, 40)
    top = rng.uniform(0, 0.9, 40) * (np.arange(40) % 2)

    def case():
        volumes = middle * np.exp(spread * rng.standard_normal(40))
        faces = np.clip(top + 0.1 * rng.standard_normal(40) * (top > 0), 0, 1)
        return {
            f"l{n}": Structure(volumes[n], (0.0,) * 5 + (faces[n],), 1 + (n % 7 == 0))
            for n in range(40)
        }

    return case


def is_flagged(case, limits):
    return any(
        not limits[name].volume_ml[0] <= it.volume_ml <= limits[name].volume_ml[1]
        or any(a > b for a, b in zip(it.cuts, limits[name].cuts, strict=True))
        or it.pieces > limits[name].pieces
        for name, it in case.items()
    )


#: Of new cases like the training cases, at most so many may be flagged.
ONE_IN_TWENTY = 0.05
#: Training cases, and cohorts of so many.
LARGE = ((30, 150), (100, 60))


@pytest.mark.parametrize(
    ("taught", "cohorts"),
    [(8, 300), (30, 60), *(pytest.param(*row, marks=pytest.mark.slow) for row in LARGE)],
)
def test_at_most_one_in_twenty_new_cases_of_a_cohort_is_flagged(taught, cohorts):
    """One new case each of many cohorts: the flags are independent and their sum is binomial.

    Slack is what all but k of n training cases needed, each against the others; the ranks of
    n + 1 exchangeable needs are equally likely, so a new case needs more with a probability of
    at most (k + 1) / (n + 1), for each of the three kinds of need that vary here (too small,
    too large, cut). The widening for few cases must bring that below one in twenty.
    """
    flagged = 0
    for seed in range(cohorts):
        case = many_labels(np.random.default_rng(seed))
        limits = learn_limits([case() for _ in range(taught)])
        flagged += is_flagged(case(), limits)
    assert flagged <= binom.ppf(0.999, cohorts, ONE_IN_TWENTY)


def test_a_structure_far_beyond_what_the_cohort_showed_is_flagged():
    case = many_labels(np.random.default_rng(1))
    limits = learn_limits([case() for _ in range(30)])
    for name, it in case().items():
        assert is_flagged({name: replace(it, volume_ml=100 * it.volume_ml)}, limits)
        assert is_flagged({name: replace(it, volume_ml=it.volume_ml / 100)}, limits)
        assert is_flagged({name: replace(it, cuts=(0.9,) * 6)}, limits)
        assert is_flagged({name: replace(it, pieces=3)}, limits)
