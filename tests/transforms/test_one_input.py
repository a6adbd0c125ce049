"""One scan gives the network one input, whatever format it comes in."""

import numpy as np
import pytest
import SimpleITK
import torch

from medseg.config import (
    NormalisePercentiles,
    NormaliseWindow,
    NormaliseZScore,
    PrepareConfig,
)
from medseg.geometry import Geometry
from medseg.readers import read
from medseg.transforms.prepare import prepare_volume
from medseg.transforms.steps import prepare_files
from medseg.volume import Origin, Volume

RULES = {
    "zscore": NormaliseZScore(),
    "zscore, zeros left out": NormaliseZScore(nonzero=True),
    "window": NormaliseWindow(low=-200, high=700),
    "percentiles": NormalisePercentiles(),
}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
GRID = Geometry((20, 24, 16), np.diag([1.1, 0.9, 2.0, 1.0]))


def values_of(kind):
    """(1, 20, 24, 16) int16 with a frame that was not scanned, and the number that stands there."""
    rng = np.random.default_rng(0)
    if kind == "CT":
        values, padding = rng.normal(40, 200, GRID.shape).clip(-1024, 2000), -3024
    elif kind == "CT, shallow":
        values, padding = rng.normal(-100, 300, GRID.shape).clip(-1024, 2000), -2000
    elif kind == "MR, high":
        values, padding = rng.normal(500, 80, GRID.shape).clip(1, 1000), 32767
    elif kind == "MR, negative":
        values, padding = rng.normal(500, 80, GRID.shape).clip(1, 1000), -32768
    else:
        values, padding = rng.normal(500, 80, GRID.shape).clip(200, 1000), 0
    values = values.round()
    values[:5] = values[:, 20:] = padding
    return values.astype(np.int16)[None], float(padding)


KINDS = ("MR", "MR, high", "MR, negative", "CT", "CT, shallow")
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
@every_rule
def test_a_header_that_names_padding_changes_nothing(kind, rule):
    data, padding = values_of(kind)
    config = PrepareConfig(spacing_mm=(1.5, 1.5, 2.0), normalise=(rule,))
    plain = prepare_volume(Volume(data, GRID), config)
    named = prepare_volume(Volume(data, GRID, origin=Origin(padding_value=padding)), config)
    assert torch.equal(plain.image, named.image)


def write(values, path):
    """A file of any format, by another library than medseg's writers."""
    image = SimpleITK.GetImageFromArray(values.transpose(2, 1, 0))
    image.SetSpacing(GRID.spacing_mm)
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # LPS
    SimpleITK.WriteImage(image, str(path))


@pytest.mark.parametrize("ending", ["nii.gz", "nrrd", "mha"])
@every_kind
@every_rule
def test_every_format_gives_the_input_of_the_dicom_series(kind, rule, ending, tmp_path):
    data, padding = values_of(kind)
    config = PrepareConfig(spacing_mm=(1.5, 1.5, 2.0), normalise=(rule,))
    # as a DICOM reader gives it: stored numbers, scaled, padding named
    series = Volume(data, GRID, slope=1.0, origin=Origin(padding_value=padding, modality="MR"))
    path = tmp_path / f"scan.{ending}"
    write(data[0], path)
    expected = prepare_volume(series, config).image
    torch.testing.assert_close(prepare_files([path], config).image, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(prepare_volume(read(path), config).image, expected)


def test_zeros_around_tissue_do_not_count_and_the_rest_has_mean_0_and_spread_1():
    data, padding = values_of("MR")
    scan = Volume(data, GRID, origin=Origin(padding_value=padding))
    prepared = prepare_volume(scan, PrepareConfig(normalise=(NormaliseZScore(nonzero=True),)))
    tissue = prepared.image[0][torch.from_numpy(data[0] != 0)]
    assert abs(float(tissue.mean())) < 1e-3
    assert float(tissue.std()) == pytest.approx(1, abs=1e-3)


def test_air_of_a_noiseless_ct_and_the_background_of_a_masked_mr_are_no_padding():
    data = np.full((1, *GRID.shape), 40, np.int16)
    for background in (-1000, -1024, 0, -1):
        data[:, :5] = background
        assert Volume(data, GRID).measured().min() == background


@pytest.mark.parametrize(
    ("slope", "intercept"), [(0.3, -30.3), (0.1, -102.4), (3.3333, -333.33), (2.0, 0.0)]
)
def test_scaling_rounds_no_zero_away(slope, intercept):
    """Zeros are what was not scanned, in stored numbers as in the values that are meant."""
    zero = round(-intercept / slope)
    values = values_of("MR")[0].astype(np.float64)
    stored = np.where(values == 0, zero, values.round() + zero).astype(np.uint16)
    meant = np.where(values == 0, 0, stored * slope + intercept)
    scan = Volume(stored, GRID, slope, intercept)
    config = PrepareConfig(
        spacing_mm=(1.5, 1.5, 2.0), normalise=(NormaliseZScore(nonzero=True),), crop="zeros"
    )
    prepared = prepare_volume(Volume(meant.astype(np.float32), GRID), config)
    assert (scan.values()[values == 0] == 0).all()
    torch.testing.assert_close(prepare_volume(scan, config).image, prepared.image)


def test_a_plan_leaves_out_the_padding_that_values_show_not_the_one_that_a_header_names():
    from medseg.planning.fingerprint import _sample, _zero_share

    for kind in KINDS:
        data, padding = values_of(kind)
        labelled = np.ones(GRID.shape, dtype=bool)
        series = Volume(data, GRID, origin=Origin(padding_value=padding))
        assert _sample(series, labelled) == _sample(Volume(data, GRID), labelled)
        assert (padding in _sample(series, labelled)[0]) == (padding == 0)
    assert _zero_share(Volume(np.full((1, *GRID.shape), 1024, np.int16), GRID, 0.1, -102.4)) == 1
