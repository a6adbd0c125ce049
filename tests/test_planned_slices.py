"""Plans for slices, thin scans and odd ranges of values."""

import dataclasses
import math

import pytest

from medseg.labels import LabelTable
from medseg.planning import Machine, make_plan
from medseg.planning.fingerprint import CohortLooks
from medseg.planning.spacing import small_structure
from tests.test_planning import cohort_of, looks_of

LABELS = LabelTable.from_card({"labels": {"organ": 1}})
LAPTOP = Machine(1, 8e9, 6.8e10, "2 CPU cores")


def looks_like(spacing, shape, ml):
    cases = looks_of(LABELS, spacing=spacing, shape=shape, cases=12).cases
    return CohortLooks(tuple(dataclasses.replace(c, volumes_ml={"organ": ml}) for c in cases), {})


def planned(spacing, shape, ml, machine=LAPTOP):
    return make_plan(cohort_of(LABELS), looks_like(spacing, shape, ml), machine, card="card.yaml")


@pytest.mark.parametrize("shape", [(1024, 1024, 3), (2000, 2400, 1)], ids=["three slices", "X-ray"])
def test_large_slices_get_coarser_voxels_while_a_patch_would_see_a_corner_of_them(shape):
    plan = planned((0.25, 0.25, 4.0), shape, ml=30.0)
    x, y, z = plan.config.prepare.spacing_mm
    assert plan.config.dims == 2
    assert x == y > 0.3
    assert z is None, "across the slices nothing is resampled"
    assert "through plane" not in plan.reasons["prepare.spacing_mm"].partition(":")[2]
    assert plan.share > 0.08, "at the scans' own spacing it was 0.03"
    finer = planned((0.25, 0.25, 4.0), shape, 30.0, dataclasses.replace(LAPTOP, minutes=600))
    assert finer.config.prepare.spacing_mm[0] < x


def test_a_small_structure_keeps_the_pixels_that_show_it():
    plan = planned((0.25, 0.25, 4.0), (1024, 1024, 1), ml=0.02)
    width_mm = math.sqrt(4 * 20 / 4 / math.pi)
    assert plan.config.prepare.spacing_mm[0] < width_mm / 2.4


def test_a_structure_of_a_thin_scan_is_as_wide_as_a_disc():
    """10 ml in a slice of 1 mm are 10,000 mm², not a ball of 27 mm."""
    _, flat_mm = small_structure(looks_like((0.5, 0.5, 1.0), (800, 800, 1), ml=10.0))
    assert flat_mm == pytest.approx(math.sqrt(4 * 10_000 / math.pi))
    _, round_mm = small_structure(looks_like((1.0, 1.0, 1.0), (200, 200, 200), ml=10.0))
    assert round_mm == pytest.approx((6 * 10_000 / math.pi) ** (1 / 3))


def test_more_minutes_are_advised_only_where_they_make_voxels_finer():
    """A structure of 8 mm in slices of 6 mm is narrow whatever the plan."""
    plan = planned((2.0, 2.0, 6.0), (64, 64, 12), ml=0.3)
    assert plan.config.prepare.spacing_mm[2] == 6.0
    assert "in the scans themselves" in plan.weakest


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_window_of_a_ct_follows_its_unit(scale):
    """Attenuation a mm is as good as HU."""
    looks = looks_like((1.0, 1.0, 1.0), (60, 60, 60), ml=10.0)
    values = tuple(scale * (40 + n) for n in range(100))
    cases = tuple(dataclasses.replace(case, sample=(values,)) for case in looks.cases)
    cohort = cohort_of(LABELS, modality="CT", channels=("CT",))
    config = make_plan(cohort, CohortLooks(cases, {}), LAPTOP, card="card.yaml").config
    window = config.prepare.normalise[0]
    assert window.low == pytest.approx(40.5 * scale, rel=0.02)
    assert window.high == pytest.approx(138.5 * scale, rel=0.02)
    assert window.sd == pytest.approx(28.9 * scale, rel=0.02)
