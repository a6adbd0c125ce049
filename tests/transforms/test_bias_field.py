"""A known shading is taken out of a phantom, and an even one is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from monai.data import MetaTensor

from medseg.config import PrepareConfig
from medseg.geometry import Geometry
from medseg.transforms.bias_field import bias_field
from medseg.transforms.load import WARNINGS
from medseg.transforms.prepare import prepare_volume
from medseg.transforms.steps import CorrectBiasField
from medseg.volume import Volume

SHAPE = (64, 56, 24)
SPACING = np.array([2.0, 2.0, 5.0])


def tissue():
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    head = (x / 0.85) ** 2 + (y / 0.85) ** 2 + (z / 0.9) ** 2 < 1
    inner = (x / 0.5) ** 2 + (y / 0.6) ** 2 + (z / 0.6) ** 2 < 1
    values = np.where(inner, 150.0, np.where(head, 100.0, 0.0))
    return values + head * np.random.default_rng(0).normal(0, 2, SHAPE), head, inner


def shading():
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    return np.exp(0.35 * x - 0.25 * y)


def spread(values, where):
    return float(values[where].std() / values[where].mean())


def test_shading_is_taken_out_to_a_quarter_and_the_level_stays():
    values, head, inner = tissue()
    shaded = (values * shading()).astype(np.float32)
    corrected = shaded / bias_field(shaded, SPACING)
    rim = head & ~inner
    assert spread(shaded, rim) > 0.15
    assert spread(corrected, rim) < spread(shaded, rim) / 4
    assert corrected[head].mean() == pytest.approx(shaded[head].mean(), rel=0.06)


def test_an_even_scan_is_hardly_changed():
    values, head, _ = tissue()
    field = bias_field(values.astype(np.float32), SPACING)
    assert np.abs(field[head] - 1).max() < 0.1


@pytest.mark.parametrize(
    "values",
    [np.zeros(SHAPE), np.full(SHAPE, 7.0), np.ones((64, 56, 2)), -np.ones(SHAPE)],
    ids=["empty", "flat", "two slices", "negative"],
)
def test_what_has_no_field_stays_as_it_is_with_a_warning(values):
    scan = MetaTensor(values[None].astype(np.float32), affine=np.diag([*SPACING, 1.0]))
    corrected = CorrectBiasField()(scan)
    assert np.array_equal(np.asarray(corrected)[0], values)
    assert "no bias field" in corrected.meta[WARNINGS][0]


def test_preparing_corrects_where_the_plan_says_so():
    values, head, inner = tissue()
    grid = Geometry(SHAPE, np.diag([*SPACING, 1.0]))
    scan = Volume((values * shading()).astype(np.float32)[None], grid)
    plain = prepare_volume(scan, PrepareConfig()).image[0].numpy()
    corrected = prepare_volume(scan, PrepareConfig(bias_field="n4")).image[0].numpy()
    rim = head & ~inner
    assert corrected[rim].std() < plain[rim].std() / 2
