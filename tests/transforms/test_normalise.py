"""Intensities come out as each rule says, and finite whatever goes in."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import (
    NormalizeIntensity,
    ScaleIntensityRange,
    ScaleIntensityRangePercentiles,
)

from medseg.config import NormalisePercentiles, NormaliseWindow, NormaliseZScore
from medseg.errors import BadConfig
from medseg.transforms.steps import NormaliseChannels

RULES = {
    "zscore": NormaliseZScore(),
    "zscore of the body": NormaliseZScore(nonzero=True),
    "window": NormaliseWindow(low=-160, high=240),
    "window of statistics": NormaliseWindow(low=-160, high=240, mean=70, sd=35),
    "percentiles": NormalisePercentiles(),
}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def image_of(values):
    plain = torch.as_tensor(np.asarray(values), dtype=torch.float32)
    return MetaTensor(plain, affine=np.diag([2, 2, 2, 1.0]))


def noise(channels=1, mean=100.0, sd=30.0):
    generator = torch.Generator().manual_seed(0)
    return image_of(mean + sd * torch.randn(channels, 12, 13, 11, generator=generator))


def test_zscore_leaves_mean_zero_and_spread_one():
    result = NormaliseChannels([NormaliseZScore()])(noise())
    assert float(result.mean()) == pytest.approx(0, abs=1e-5)
    assert float(result.std(unbiased=False)) == pytest.approx(1, abs=1e-4)


def test_zscore_of_the_body_is_not_moved_by_the_air_around_it():
    image = noise()
    image[:, :6] = 0
    result = NormaliseChannels([NormaliseZScore(nonzero=True)])(image)
    assert float(result[:, 6:].mean()) == pytest.approx(0, abs=1e-4)
    assert float(result[:, 6:].std(unbiased=False)) == pytest.approx(1, abs=1e-3)
    assert float(result[:, :6].abs().max()) == 0


@pytest.mark.parametrize(
    ("hu", "expected"), [(-160, -1), (240, 1), (40, 0), (-1000, -1), (3000, 1), (140, 0.5)]
)
def test_a_window_is_centred_between_its_ends_and_clips(hu, expected):
    result = NormaliseChannels([NormaliseWindow(low=-160, high=240)])(image_of([[[[hu]]]]))
    assert result.item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("hu", "expected"), [(70, 0), (105, 1), (-3000, -230 / 35), (500, 170 / 35)]
)
def test_a_window_may_be_shifted_and_scaled_by_foreground_statistics(hu, expected):
    rule = NormaliseWindow(low=-160, high=240, mean=70, sd=35)
    assert NormaliseChannels([rule])(image_of([[[[hu]]]])).item() == pytest.approx(expected)


def test_percentiles_become_zero_and_one_and_outliers_do_not_count():
    image = noise()
    image[0, 0, 0, 0] = 1e6
    result = NormaliseChannels([NormalisePercentiles(low=5, high=95)])(image)
    assert float(result.min()) == pytest.approx(0, abs=1e-5)
    assert float(result.max()) == pytest.approx(1, abs=1e-5)
    assert 0.4 < float(result.median()) < 0.6


@every_rule
@pytest.mark.parametrize("value", [0.0, 7.0, -1000.0])
def test_a_constant_channel_becomes_finite_numbers_of_no_more_than_a_window(rule, value):
    result = NormaliseChannels([rule])(image_of(np.full((1, 4, 5, 6), value)))
    assert torch.isfinite(result).all()
    assert len(torch.unique(result)) == 1
    if not isinstance(rule, NormaliseWindow):
        assert float(result.abs().max()) == 0


@every_rule
def test_the_given_image_is_left_as_it_was_and_the_grid_travels_on(rule):
    image = noise()
    before = image.clone()
    result = NormaliseChannels([rule])(image)
    assert torch.equal(image, before)
    assert torch.equal(result.affine, image.affine)
    assert result.dtype == torch.float32


def test_each_channel_has_its_own_rule_or_all_share_one():
    image = image_of(np.concatenate([noise(), noise(mean=-5, sd=2)]))
    each = NormaliseChannels([NormaliseWindow(low=0, high=200), NormaliseZScore()])(image)
    assert float(each[0].mean()) == pytest.approx(0, abs=0.05)
    assert float(each[0].std()) == pytest.approx(0.3, abs=0.02)
    assert float(each[1].std()) == pytest.approx(1, abs=0.01)
    shared = NormaliseChannels([NormaliseZScore()])(image)
    assert float(shared[0].std()) == pytest.approx(1, abs=0.01)
    assert float(shared[1].std()) == pytest.approx(1, abs=0.01)


def test_rules_that_do_not_fit_the_channels_are_refused():
    with pytest.raises(BadConfig, match="found 2, expected 1 rule or 3"):
        NormaliseChannels([NormaliseZScore(), NormaliseZScore()])(noise(channels=3))


MONAIS = {
    "zscore": NormalizeIntensity(),
    "zscore of the body": NormalizeIntensity(nonzero=True),
    "window": ScaleIntensityRange(-160, 240, -1.0, 1.0, clip=True),
    "window of statistics": ScaleIntensityRange(-160, 240, -230 / 35, 170 / 35, clip=True),
    "percentiles": ScaleIntensityRangePercentiles(0.5, 99.5, 0.0, 1.0, clip=True),
}


@pytest.mark.parametrize("name", RULES)
def test_each_rule_gives_what_monais_own_transform_gives(name):
    image = noise(mean=20, sd=200)
    image[:, :3] = 0
    expected = MONAIS[name](image.as_tensor().clone())
    result = NormaliseChannels([RULES[name]])(image).as_tensor()
    torch.testing.assert_close(result, torch.as_tensor(expected), rtol=1e-5, atol=1e-5)
