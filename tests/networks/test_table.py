"""Every network of the table, in 2D and 3D, with every way of upsampling, keeps its promises."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.errors import BadConfig
from medseg.networks import NETWORKS, build_network
from medseg.networks.upsampling import UPSAMPLING

SIZE = (19, 17, 9)  # odd, unequal, more than one cell at an FCN's deepest norm

#: Every network in 2D and 3D, the upsampling kinds taking turns.
ONCE = [
    (name, dims, upsampling)
    for (name, dims), upsampling in zip(
        itertools.product(NETWORKS, (2, 3)), itertools.cycle(UPSAMPLING), strict=False
    )
]
EVERY = list(itertools.product(NETWORKS, (2, 3), UPSAMPLING))
#: All combinations, those beyond ONCE only by `make test-all`.
FULL = [c if c in ONCE else pytest.param(*c, marks=pytest.mark.slow) for c in EVERY]


def small(name: str, dims: int, upsampling: str = "transposed", **options: Any) -> nn.Module:
    """A network of this name that is quick to run."""
    torch.manual_seed(3)
    widths: dict[str, Any] = {"features": (8, 8) if name == "unet_original" else (4, 6)}
    if name.startswith("fcn"):
        widths = {"features": (4, 4, 4, 6, 6), "head_features": 16, "dropout": 0.0}
        widths |= {"convs_per_stage": (1, 1, 1, 1, 1), "activation": "leaky_relu"}
    given = {**widths, "upsampling": upsampling, **options}
    return build_network(name, dims=dims, in_channels=2, out_channels=3, options=given)


def image(dims: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, 2, *SIZE[:dims], generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(("name", "dims", "upsampling"), EVERY)
def test_logits_are_as_large_as_the_image_and_gradients_reach_everything(name, dims, upsampling):
    network = small(name, dims, upsampling)
    logits = network(image(dims))
    assert logits.shape == (1, 3, *SIZE[:dims])
    logits.square().mean().backward()
    without = [
        name
        for name, value in network.named_parameters()
        if value.grad is None or not value.grad.abs().sum() > 0
    ]
    assert without == []


@pytest.mark.parametrize(("name", "dims", "upsampling"), FULL)
def test_a_seed_gives_the_same_network_and_the_same_logits(name, dims, upsampling):
    first, second = small(name, dims, upsampling), small(name, dims, upsampling)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(first(image(dims)), second(image(dims)))


@pytest.mark.parametrize(("name", "dims", "upsampling"), FULL)
def test_weights_saved_and_loaded_give_the_same_logits(name, dims, upsampling, tmp_path):
    network = small(name, dims, upsampling).eval()
    path = tmp_path / "weights.safetensors"
    weights = {key: value.contiguous() for key, value in network.state_dict().items()}
    safetensors.torch.save_file(weights, path)
    other = small(name, dims, upsampling).eval()
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    other.load_state_dict(safetensors.torch.load_file(path))
    assert torch.equal(other(image(dims)), network(image(dims)))


@pytest.mark.parametrize(("name", "dims", "upsampling"), FULL)
def test_bfloat16_agrees_with_float32_to_a_few_percent(name, dims, upsampling):
    network = small(name, dims, upsampling).eval()
    expected = network(image(dims))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(image(dims)).float()
    # bfloat16 keeps 8 bits: 0.4 % a step, over some ten layers
    assert (logits - expected).abs().mean() < 0.05 * expected.std()


@pytest.mark.parametrize(("name", "dims", "upsampling"), FULL)
def test_a_phantom_is_learned(name, dims, upsampling):
    """A noisy ball off the centre, on an FCN's grid of 32-voxel cells two boxes of them."""
    network = small(name, dims, upsampling, **({"norm": "none"} if "fcn" in name else {}))
    shape = (64, 8, 5)[:dims] if name.startswith("fcn") else (13, 12, 9)[:dims]
    place = torch.stack(torch.meshgrid(*map(torch.arange, shape), indexing="ij")).float()
    if name.startswith("fcn"):
        truth = (place[0] < 32).long()[None]
    else:
        centre = torch.tensor([4.0, 7.0, 5.0][:dims]).view(-1, *[1] * dims)
        truth = ((place - centre).square().sum(0) < 10).long()[None]
    noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    scan = torch.stack([truth[0] + 0.3 * noise[0], noise[1]])[None]
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = functional.cross_entropy(network(scan), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_forward_deep_begins_with_the_logits(name):
    network = small(name, 2).eval()
    levels = network.forward_deep(image(2))
    assert torch.equal(levels[0], network(image(2)))


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(BadConfig, match="fcn16s, fcn32s, fcn8s, residual_unet, unet"):
        build_network("unett", dims=3, in_channels=1, out_channels=2, options={})


def test_unknown_options_are_refused_with_the_known_ones():
    with pytest.raises(BadConfig, match=r"feature.*deep_supervision.*features"):
        build_network("unet", dims=3, in_channels=1, out_channels=2, options={"feature": [8]})


def test_other_dims_are_refused():
    with pytest.raises(BadConfig, match="dims 4"):
        build_network("unet", dims=4, in_channels=1, out_channels=2, options={})


def test_checked_options_are_taken_as_they_are():
    options = NETWORKS["unet"].options(features=(2, 3))
    network = build_network("unet", dims=2, in_channels=1, out_channels=1, options=options)
    assert network.contract[1][1][0].weight.shape[:2] == (3, 2)
