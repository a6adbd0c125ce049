"""Every network of the table, in 2D and 3D, with every way of upsampling, keeps its promises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medseg.errors import BadConfig
from medseg.networks import NETWORKS, build_network
from medseg.networks.upsampling import UPSAMPLING

SIZE = (19, 17, 9)  # odd, unequal, more than one cell at an FCN's deepest norm


def small(name: str, dims: int, upsampling: str = "transposed", **options: Any) -> nn.Module:
    """A network of this name that is quick to run."""
    torch.manual_seed(3)
    widths: dict[str, Any] = {"features": (4, 6, 8)}
    if name.startswith("fcn"):
        widths = {"features": (4, 4, 4, 6, 6), "head_features": 16, "dropout": 0.0}
        widths |= {"convs_per_stage": (1, 1, 1, 1, 1), "activation": "leaky_relu"}
    return build_network(
        name, dims=dims, in_channels=2, out_channels=3,
        options={**widths, "upsampling": upsampling, **options},
    )  # fmt: skip


def image(dims: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, 2, *SIZE[:dims], generator=torch.Generator().manual_seed(5))


every_network = pytest.mark.parametrize("name", NETWORKS)
every_dims = pytest.mark.parametrize("dims", [2, 3])
every_upsampling = pytest.mark.parametrize("upsampling", UPSAMPLING)


@every_network
@every_dims
@every_upsampling
def test_logits_are_as_large_as_the_image_and_gradients_reach_everything(name, dims, upsampling):
    network = small(name, dims, upsampling)
    logits = network(image(dims))
    assert logits.shape == (1, 3, *SIZE[:dims])
    logits.square().mean().backward()
    without = [
        name for name, value in network.named_parameters()
        if value.grad is None or not value.grad.abs().sum() > 0
    ]  # fmt: skip
    assert without == []


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(BadConfig, match="fcn16s, fcn32s, fcn8s, residual_unet, unet"):
        build_network("unett", dims=3, in_channels=1, out_channels=2, options={})


def test_unknown_options_are_refused_with_the_known_ones():
    with pytest.raises(BadConfig, match=r"feature.*deep_supervision.*features"):
        build_network("unet", dims=3, in_channels=1, out_channels=2, options={"feature": [8]})


def test_other_dims_are_refused():
    with pytest.raises(BadConfig, match="dims 4"):
        build_network("unet", dims=4, in_channels=1, out_channels=2, options={})
