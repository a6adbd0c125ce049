"""The first U-Net has the sizes of its paper, mirrors the border and crops its skips."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from medseg.networks import build_network
from medseg.networks.unet_original import (
    OriginalUNet,
    OriginalUNetOptions,
    ValidUNet,
    margin,
    mirrored,
    tile_for,
)


def test_572_in_gives_388_out_as_in_the_papers_figure():
    network = ValidUNet(2, 1, 2, OriginalUNetOptions(features=(1, 1, 1, 1, 1)))
    assert network(torch.zeros(1, 1, 572, 572)).shape == (1, 2, 388, 388)
    assert (margin(4), tile_for(388, 4)) == (92, 572)


@pytest.mark.slow
def test_132_by_132_by_116_gives_44_by_44_by_28_as_in_the_3d_papers_figure():
    network = ValidUNet(3, 3, 3, OriginalUNetOptions(features=(2, 2, 2, 2)))
    assert network(torch.zeros(1, 3, 132, 132, 116)).shape == (1, 3, 44, 44, 28)


def test_the_3d_papers_tiles_are_the_ones_computed():
    assert [tile_for(size, 3) for size in (44, 28)] == [132, 116]


def test_without_options_the_widths_are_the_papers():
    with FakeTensorMode():  # no 53 million numbers are drawn
        flat = OriginalUNet(2, 1, 2, OriginalUNetOptions())
        solid = OriginalUNet(3, 1, 2, OriginalUNetOptions())
    assert flat.valid.rise[0].conv.weight.shape == (1024, 512, 2, 2)
    assert solid.valid.rise[0].conv.weight.shape == (512, 256, 2, 2, 2)


@pytest.mark.parametrize("poolings", [1, 2, 3, 4])
def test_tiles_are_the_smallest_whose_pooled_sizes_are_even(poolings):
    network = ValidUNet(2, 1, 1, OriginalUNetOptions(features=(1,) * (poolings + 1)))
    smallest = tile_for(1, poolings)
    for size in (1, 2, 5, 2**poolings + 1):
        tile = tile_for(size, poolings)
        out = network(torch.zeros(1, 1, tile, smallest)).shape[2]
        assert out == tile - 2 * margin(poolings)
        assert size <= out < size + 2**poolings


@pytest.mark.parametrize("size", [2, 3, 5, 8])
@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 1), (20, 23)])
def test_mirroring_is_numpys_reflection(size, before, after):
    expected = np.pad(np.arange(size), (before, after), mode="reflect")
    assert mirrored(size, before, before + size + after).tolist() == expected.tolist()


def test_one_voxel_is_mirrored_as_itself():
    assert mirrored(1, 2, 5).tolist() == [0] * 5


def test_the_middle_of_the_image_is_what_the_valid_network_says():
    torch.manual_seed(0)
    network = build_network(
        "unet_original", dims=2, in_channels=1, out_channels=2, options={"features": (2, 2, 2)}
    ).eval()
    lost, tile = margin(2), tile_for(20, 2)
    image = torch.randn(1, 1, tile, tile)
    inside = network(image)[:, :, lost:-lost, lost:-lost]
    torch.testing.assert_close(inside, network.valid(image))
