"""Receptive fields, counts and memory are what computing them by brute force gives."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from medseg.networks import NETWORKS, build_network
from medseg.networks.blocks import LAYERS, BlockStyle, ConvBlock
from medseg.networks.inspect import cost, effective_receptive_field, receptive_field
from medseg.networks.upsampling import UPSAMPLING


def seen_by_brute_force(network: nn.Module, size: tuple[int, ...], period: int) -> tuple[int, ...]:
    """Widest set of voxels with a gradient, over middle output voxels of one period.

    With positive weights and images nothing cancels; means stand in for maxima, which show only
    the largest voxel of a cell.
    """
    dims = len(size)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.MaxPool2d | nn.MaxPool3d):
                pool = nn.AvgPool2d if dims == 2 else nn.AvgPool3d
                setattr(module, name, pool(child.kernel_size, ceil_mode=True))
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.5)
    image = torch.ones(1, 1, *size, dtype=torch.float64, requires_grad=True)
    logits = network.double().eval()(image)
    widest = [0] * dims
    for shift in itertools.product(range(period), repeat=dims):
        place = tuple(n // 2 + s for n, s in zip(size, shift, strict=True))
        (gradient,) = torch.autograd.grad(logits[(0, 0, *place)], image, retain_graph=True)
        for axis in range(dims):
            others = tuple(a for a in range(dims + 2) if a != axis + 2)
            seen = gradient.abs().sum(others).nonzero()
            widest[axis] = max(widest[axis], int(seen.max() - seen.min()) + 1)
    return tuple(widest)


@pytest.mark.parametrize("upsampling", UPSAMPLING)
@pytest.mark.parametrize("name", ["unet", "residual_unet", "unet_original"])
def test_receptive_field_is_what_gradients_reach(name, upsampling):
    options = {"features": (1, 1, 1), "upsampling": upsampling}
    if name != "unet_original":
        options |= {"norm": "none", "strides": ((2, 2), (2, 1)), "kernels": ((3, 3), (5, 1), 3)}
    network = build_network(name, dims=2, in_channels=1, out_channels=1, options=options)
    expected = receptive_field(network, 2)
    assert seen_by_brute_force(network, tuple(2 * n + 8 for n in expected), 4) == expected


def test_receptive_field_of_the_3d_unet_is_what_gradients_reach():
    options = {
        "features": (1, 1),
        "norm": "none",
        "strides": ((2, 2, 1),),
        "kernels": ((3, 3, 1), 3),
    }
    network = build_network("unet", dims=3, in_channels=1, out_channels=1, options=options)
    expected = receptive_field(network, 3)
    assert seen_by_brute_force(network, tuple(2 * n + 4 for n in expected), 2) == expected


@pytest.mark.parametrize("name", ["fcn32s", "fcn16s", "fcn8s"])
def test_receptive_field_of_an_fcn_is_what_gradients_reach(name):
    options = {
        "features": (1,) * 5,
        "convs_per_stage": (1,) * 5,
        "head_features": 1,
        "norm": "none",
    }
    network = build_network(name, dims=2, in_channels=1, out_channels=1, options=options)
    network.last = network.last.double()
    for score in network.score_skip.values():
        nn.init.ones_(score.weight)
    expected = receptive_field(network, 2)
    shape = (2 * expected[0] + 64, 64)
    assert seen_by_brute_force_along_first(network, shape) == expected[0]


def seen_by_brute_force_along_first(network: nn.Module, shape: tuple[int, int]) -> int:
    """As above, along the first axis alone, over a period of 32."""
    seen = 0
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.5)
    for stage in network.backbone.stages:
        stage[-1] = nn.AvgPool2d(2, ceil_mode=True)
    image = torch.ones(1, 1, *shape, dtype=torch.float64, requires_grad=True)
    logits = network.double().eval()(image)
    for shift in range(32):
        place = logits[0, 0, shape[0] // 2 + shift, shape[1] // 2]
        (gradient,) = torch.autograd.grad(place, image, retain_graph=True)
        rows = gradient.abs().sum((0, 1, 3)).nonzero()
        seen = max(seen, int(rows.max() - rows.min()) + 1)
    return seen


@pytest.mark.parametrize("name", NETWORKS)
def test_the_effective_field_is_within_the_theoretical_one(name):
    torch.manual_seed(4)
    options = {"features": (4,) * (5 if name.startswith("fcn") else 3)}
    network = build_network(name, dims=2, in_channels=1, out_channels=2, options=options)
    effective = effective_receptive_field(network, torch.randn(1, 1, 129, 129))
    theoretical = receptive_field(network, 2)
    assert all(1 <= e <= t for e, t in zip(effective, theoretical, strict=True))


def test_the_effective_field_of_one_convolution_is_its_kernel():
    conv = nn.Conv2d(1, 1, (3, 7), padding=(1, 3), bias=False)
    nn.init.ones_(conv.weight)
    assert effective_receptive_field(conv, torch.randn(1, 1, 21, 21), share=0.999) == (3, 7)


def test_multiply_adds_of_a_convolution_are_its_kernel_times_its_output():
    conv = LAYERS[3].conv(4, 8, (3, 3, 1), padding=(1, 1, 0), bias=False)
    assert cost(conv, (2, 4, 5, 6, 7)).multiply_adds == 2 * 5 * 6 * 7 * 4 * 8 * 9


def test_a_block_keeps_what_its_convolution_and_its_norm_read_and_no_more():
    block = ConvBlock(BlockStyle(3), (4, 8), 3)
    voxels = 2 * 6 * 6 * 6
    kept = cost(block, (2, 4, 6, 6, 6)).activation_bytes
    maps = 4 * voxels * (4 + 8 + 8)  # the image, the convolution's output, the activated output
    assert maps <= kept <= maps + 4 * 8 * 4  # and each sample's means and spreads


@pytest.mark.parametrize("name", ["unet", "fcn8s"])
def test_activation_memory_without_computing_is_that_of_a_real_pass(name):
    options = {"features": (4, 4, 4, 6, 6)}
    network = build_network(name, dims=3, in_channels=1, out_channels=2, options=options)
    storages = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda kept: kept):
        network(torch.randn(1, 1, 24, 20, 16))
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    measured = sum(size for place, (size, _) in storages.items() if place not in weights)
    assert cost(network, (1, 1, 24, 20, 16)).activation_bytes == measured


def test_the_papers_unet_has_31_million_parameters():
    network = build_network("unet_original", dims=2, in_channels=1, out_channels=2)
    assert cost(network, (1, 1, 388, 388)).parameters == 31_030_658
