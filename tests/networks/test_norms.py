"""The norms compute what torch's compute, forwards and backwards, and keep the memory order."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.networks.norms import InstanceNorm, make_norm


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("shape", [(7, 6), (5, 4, 3)])
@pytest.mark.parametrize("order", ["channels first", "channels last"])
def test_instance_norm_and_its_gradients_are_torchs(batch, shape, order):
    norm = InstanceNorm(4)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    image = random(batch, 4, *shape) * 3 + 5
    if order == "channels last":
        last = torch.channels_last if len(shape) == 2 else torch.channels_last_3d
        image = image.to(memory_format=last)
    results = []
    for function in (
        norm,
        lambda x: functional.instance_norm(x, weight=norm.weight, bias=norm.bias, eps=norm.eps),
    ):
        given = image.clone().requires_grad_()
        normed = function(given)
        wanted = [given, norm.weight, norm.bias]
        gradients = torch.autograd.grad((normed**3).sum(), wanted)
        results.append([normed.detach(), *gradients])
    for ours, torchs in zip(*results, strict=True):
        torch.testing.assert_close(ours, torchs, atol=1e-4, rtol=1e-4)


def test_instance_norm_keeps_channels_last():
    image = random(2, 4, 5, 6, 7).to(memory_format=torch.channels_last_3d)
    assert InstanceNorm(4)(image).is_contiguous(memory_format=torch.channels_last_3d)


def test_batch_norm_groups_and_none_are_torchs():
    kinds = {kind: type(make_norm(kind, 3, 8)) for kind in ("batch", "group", "none")}
    assert kinds == {"batch": nn.BatchNorm3d, "group": nn.GroupNorm, "none": nn.Identity}
