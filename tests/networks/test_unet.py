"""The U-Net's options do what they say."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from medseg.errors import BadConfig
from medseg.networks import build_network
from medseg.networks.blocks import ConvBlock, ResidualBlock
from medseg.networks.norms import InstanceNorm
from medseg.networks.unet import UNet


def unet(dims: int = 3, **options: object) -> nn.Module:
    torch.manual_seed(0)
    return build_network("unet", dims=dims, in_channels=1, out_channels=3, options=options)


def test_parameters_are_those_counted_on_paper():
    # 2D, two levels of 4 and 8 channels, two convolutions each, no bias beside a norm
    network = unet(2, features=(4, 8))
    down = 9 * (1 * 4 + 4 * 4 + 4 * 8 + 8 * 8) + 2 * (4 + 4 + 8 + 8)
    up = 4 * 8 * 4 + 4 + 9 * (8 * 4 + 4 * 4) + 2 * (4 + 4)
    head = 4 * 3 + 3
    assert sum(p.numel() for p in network.parameters()) == down + up + head


def test_deep_supervision_gives_each_level_but_the_deepest_at_its_own_size():
    network = unet(features=(4, 4, 6, 6), strides=((2, 2, 1), 2, 2), deep_supervision=True)
    logits = network.forward_deep(torch.randn(1, 1, 13, 12, 7))
    assert [tuple(level.shape[2:]) for level in logits] == [(13, 12, 7), (7, 6, 7), (4, 3, 4)]
    assert {level.shape[1] for level in logits} == {3}
    assert network.deep_strides == [(1, 1, 1), (2, 2, 1), (4, 4, 2)]


def test_deep_supervision_keeps_the_finest_logits():
    network = unet(features=(4, 6), deep_supervision=True).eval()
    image = torch.randn(1, 1, 8, 8, 8)
    assert torch.equal(network.forward_deep(image)[0], network(image))


def test_without_deep_supervision_the_finest_is_the_only_one():
    network = unet(features=(4, 6, 6))
    assert len(network.forward_deep(torch.randn(1, 1, 8, 8, 8))) == len(network.deep_strides) == 1


def test_one_level_is_a_plain_chain_of_convolutions():
    assert unet(features=(4,))(torch.randn(1, 1, 5, 4, 3)).shape == (1, 3, 5, 4, 3)


def test_strides_of_one_leave_an_axis_alone():
    network = unet(features=(4, 4), strides=((1, 2, 2),), deep_supervision=True)
    assert network.strides == [(1, 2, 2)]
    deepest = network.contract[1](network.contract[0](torch.randn(1, 1, 3, 8, 8)))
    assert deepest.shape[2:] == (3, 4, 4)


def test_kernels_are_per_level_and_per_axis():
    network = unet(features=(4, 4), kernels=((1, 3, 3), 5))
    kernels = [m.kernel_size for m in network.contract.modules() if isinstance(m, nn.Conv3d)]
    assert kernels == [(1, 3, 3), (1, 3, 3), (5, 5, 5), (5, 5, 5)]


def test_convolutions_per_level_are_counted_each_way():
    network = unet(features=(4, 4), convs_per_level=(1, 3), convs_per_level_up=(2,))
    down = [sum(isinstance(m, ConvBlock) for m in level.modules()) for level in network.contract]
    up = [sum(isinstance(m, ConvBlock) for m in level.modules()) for level in network.merge]
    assert (down, up) == ([1, 3], [2])


@pytest.mark.parametrize(
    ("norm", "layer"),
    [("instance", InstanceNorm), ("batch", nn.BatchNorm3d), ("group", nn.GroupNorm)],
)
def test_the_norm_is_the_one_asked_for_and_takes_the_bias_over(norm, layer):
    network = unet(features=(4, 4), norm=norm, groups=2)
    blocks = [m for m in network.modules() if isinstance(m, ConvBlock)]
    assert all(isinstance(block[1], layer) and block[0].bias is None for block in blocks)


def test_without_a_norm_convolutions_have_a_bias():
    network = unet(features=(4, 4), norm="none")
    blocks = [m for m in network.modules() if isinstance(m, ConvBlock)]
    assert all(block[0].bias is not None and len(block) == 2 for block in blocks)


def test_dropout_acts_while_training_only():
    network = unet(features=(4, 4), dropout=0.5)
    image = torch.randn(1, 1, 8, 8, 8)
    assert not torch.equal(network(image), network(image))
    network.eval()
    assert torch.equal(network(image), network(image))


def test_the_residual_preset_is_the_unet_with_residual_blocks_on_the_way_down():
    network = build_network(
        "residual_unet", dims=3, in_channels=1, out_channels=2, options={"features": (4, 4)}
    )
    assert isinstance(network, UNet)
    assert all(isinstance(m, ResidualBlock) for level in network.contract for m in level)
    assert not any(isinstance(m, ResidualBlock) for m in network.merge.modules())


def test_features_across_are_the_first_half_of_what_is_merged():
    network = unet(2, features=(4, 6), norm="none").eval()
    nn.init.zeros_(network.rise[0].conv.weight)  # nothing comes up but the bias, zero
    seen = []
    network.merge[0].register_forward_hook(lambda module, given, _: seen.append(given[0]))
    image = torch.randn(1, 1, 8, 8)
    network(image)
    across = network.contract[0](image)
    assert torch.equal(seen[0], torch.cat([across, torch.zeros_like(across)], 1))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"features": []}, "features"),
        ({"features": (4, 0)}, "start at 1"),
        ({"features": (4, 4), "strides": (2, 2)}, "strides needs 1 entries for 2 levels"),
        ({"features": (4, 4), "kernels": (3,)}, "kernels needs 2 entries"),
        ({"features": (4, 4), "kernels": (3, 2)}, "even kernel"),
        ({"features": (4, 4), "kernels": (3, (3, 3))}, "3 numbers, or one for all"),
        ({"features": (4, 6), "norm": "group", "groups": 4}, "6 channels in 4 groups"),
        ({"norm": "layer"}, "norm"),
        ({"upsampling": "bicubic"}, "upsampling"),
    ],
)
def test_impossible_options_are_refused_by_name(options, said):
    with pytest.raises(BadConfig, match=said):
        unet(**options)


def test_levels_halve_resolution_and_double_channels_as_in_the_paper():
    network = unet(2, features=(4, 8, 16))
    sizes, image = [], torch.randn(1, 1, 16, 16)
    for level in network.contract:
        image = level(image)
        sizes.append(tuple(image.shape[1:]))
    assert sizes == [(4, 16, 16), (8, 8, 8), (16, 4, 4)]
    assert all(b[0] == 2 * a[0] and 2 * b[1] == a[1] for a, b in pairwise(sizes))


@pytest.mark.parametrize("dims", [2, 3])
def test_skips_added_or_left_out_halve_what_a_level_convolves(dims):
    widths = {
        skips: [merge[0][0].in_channels for merge in unet(dims, skips=skips).merge]
        for skips in ("concat", "sum", "none")
    }
    assert widths["sum"] == widths["none"] == [n // 2 for n in widths["concat"]]


def test_without_skips_the_finest_level_reaches_the_logits_only_through_the_deepest():
    torch.manual_seed(0)
    image = torch.randn(1, 1, 16, 16, 16)
    reached = {}
    for skips in ("concat", "sum", "none"):
        network = unet(3, skips=skips).eval()
        with torch.no_grad():
            before = network(image)
            for parameter in network.rise.parameters():
                parameter.zero_()  # nothing comes up any more
            blind = network(image)
            other = network(torch.randn(1, 1, 16, 16, 16))
        assert not torch.allclose(before, blind)
        reached[skips] = not torch.allclose(blind, other)
    assert reached == {"concat": True, "sum": True, "none": False}
