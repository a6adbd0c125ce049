"""No figure depends on how the patient lay in the scanner or how the file stores the axes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.metrics import METRICS, Structure, pairs
from tests.metrics.shapes import ball

#: Shifts by whole voxels put many distances exactly on the tolerance.
TOLERANCES = {"1": 1.0, "2": 2.0}

SPACINGS = st.sampled_from(
    [(1.0, 1.0, 1.0), (0.9765625, 0.9765625, 2.0), (0.7, 0.7, 3.0), (1.0, 2.0, 0.5)]
)


def turn(seed):
    """A rotation about any axis."""
    matrix = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return matrix * np.sign(np.linalg.det(matrix))


def masks(seed):
    """Truth and prediction of two labels with an ignored part: blobs, moved and spotted."""
    random = np.random.default_rng(seed)
    shape = (11, 9, 8)
    truth = np.zeros(shape, np.uint8)
    for value in (1, 2, 1):
        centre = [int(random.integers(1, n - 1)) for n in shape]
        truth[ball(shape, centre, int(random.integers(1, 4)))] = value
    prediction = np.roll(truth, int(random.integers(-2, 3)), int(random.integers(0, 3)))
    spots = random.random(shape) < 0.02
    prediction[spots] = random.integers(0, 3, size=int(spots.sum()))
    if seed % 2:
        truth[:, :, int(random.integers(5, 8)) :] = 9
    return truth, prediction


def figures(truth, prediction, steps):
    """Every metric of every structure at two tolerances."""
    structures = [Structure("one", (1,)), Structure("two", (2,)), Structure("both", (1, 2))]
    found = {}
    for title, tolerance in TOLERANCES.items():
        limits = dict.fromkeys(("one", "two", "both"), tolerance)
        for structure, pair in pairs(
            truth, prediction, structures, steps, tolerances_mm=limits, ignore=9
        ):
            for name, metric in METRICS.items():
                found[structure.name, name, title] = metric.value(pair)
    return found


def stored(array, axes, mirrors):
    flips = tuple(slice(None, None, -1 if mirrors >> k & 1 else 1) for k in range(3))
    return array.transpose(axes)[flips]


@given(
    seed=st.integers(0, 10_000),
    spacing=SPACINGS,
    axes=st.permutations(range(3)),
    mirrors=st.integers(0, 7),
    order=st.sampled_from("CF"),
)
def test_turning_the_patient_and_the_file_changes_no_metric(seed, spacing, axes, mirrors, order):
    """The turned affine is rounded to float32, as every NIfTI header is."""
    truth, prediction = masks(seed)
    upright = figures(truth, prediction, np.diag(spacing))
    steps = (turn(seed) @ np.diag(spacing)).astype(np.float32).astype(np.float64)
    signs = np.array([-1 if mirrors >> k & 1 else 1 for k in range(3)])
    turned = figures(
        *(np.array(stored(mask, axes, mirrors), order=order) for mask in (truth, prediction)),
        steps[:, axes] * signs,
    )
    for key, value in upright.items():
        assert turned[key] == pytest.approx(value, rel=2e-6, abs=1e-9, nan_ok=True), key


@given(seed=st.integers(0, 10_000), shear=st.floats(-0.5, 0.5))
def test_a_sheared_grid_may_be_turned_too(seed, shear):
    truth, prediction = masks(seed)
    steps = np.array([[1, 0, shear], [0, 1, 0], [0, 0, 2.0]])
    turned = (turn(seed) @ steps).astype(np.float32).astype(np.float64)
    straight, oblique = (figures(truth, prediction, each) for each in (steps, turned))
    assert list(oblique.values()) == pytest.approx(
        list(straight.values()), rel=2e-6, abs=1e-9, nan_ok=True
    )


@pytest.mark.parametrize("number", range(12))
def test_a_shift_by_the_tolerance_is_within_it_on_every_oblique_grid(number):
    truth = ball((24, 24, 24), (12, 12, 12), 7)
    steps = turn(number).astype(np.float32).astype(np.float64)
    moved = np.roll(truth, 1, axis=number % 3)
    assert METRICS["nsd"].compute(truth, moved, steps, tolerance_mm=1.0) == 1.0
    assert METRICS["nsd"].compute(truth, moved, steps, tolerance_mm=0.99) < 1.0


def test_a_tolerance_of_nothing_accepts_only_equal_surfaces():
    truth = ball((16, 16, 16), (8, 8, 8), 5)
    assert METRICS["nsd"].compute(truth, truth, (1, 1, 1), tolerance_mm=0) == 1.0
    assert METRICS["nsd"].compute(truth, np.roll(truth, 1, 0), (1, 1, 1), tolerance_mm=0) < 0.9
