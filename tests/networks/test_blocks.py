"""The shared layers compute what their plain counterparts compute, whatever path they take."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medseg.errors import BadConfig
from medseg.networks.blocks import (
    LAYERS,
    STEADY_VOXELS,
    CPUConv3d,
    CPUConvTranspose3d,
    MeanShrink,
    make_conv,
    per_axis,
    score,
    shrink_by_max,
)


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_one_channel_given_a_second_of_zeros_has_the_same_gradients():
    ours = CPUConv3d(1, 4, 3, padding=1)
    plain = nn.Conv3d(1, 4, 3, padding=1)
    plain.load_state_dict(ours.state_dict())
    results = []
    for conv in (ours, plain):
        image = random(2, 1, 6, 5, 4).requires_grad_()
        logits = conv(image)
        logits.square().sum().backward()
        results.append((logits, image.grad, conv.weight.grad, conv.bias.grad))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    "conv", [CPUConv3d(2, 3, 3, padding=1), CPUConvTranspose3d(2, 3, 1)], ids=["down", "up"]
)
def test_few_voxels_stay_in_float32_under_bfloat16_autocast(conv):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        few = conv(random(1, 2, 2, 3, 2).bfloat16())
        many = conv(random(1, 2, 8, 8, STEADY_VOXELS // 64))
    assert (few.dtype, many.dtype) == (torch.float32, torch.bfloat16)


@pytest.mark.slow
@pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="no bfloat16 instructions here"
)
@pytest.mark.parametrize("size", [(2, 3, 2), (3, 4, 3), (5, 7, 5)])
def test_weight_gradients_over_tiny_grids_are_finite_time_after_time(size):
    conv = make_conv(3, (128, 128), 3).to(memory_format=torch.channels_last_3d)
    for _ in range(500):
        conv.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = conv(torch.randn(2, 128, *size).to(memory_format=torch.channels_last_3d))
        out.float().square().mean().backward()
        assert conv.weight.grad.isfinite().all()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("dims", [2, 3])
def test_part_cells_hold_the_voxels_that_are_there(size, stride, dims):
    line = torch.arange(float(size)) + 1
    image = line.view(1, 1, *[1] * (dims - 1), size)
    only_last = (1,) * (dims - 1) + (stride,)
    cells = line.split(stride)
    means = MeanShrink(dims, only_last)(image).flatten()
    tops = shrink_by_max(dims, only_last)(image).flatten()
    torch.testing.assert_close(means, torch.stack([cell.mean() for cell in cells]))
    torch.testing.assert_close(tops, torch.stack([cell.max() for cell in cells]))


def test_one_number_stands_for_every_axis():
    assert per_axis(2, 3) == (2, 2, 2)
    assert per_axis((1, 2), 2) == (1, 2)
    with pytest.raises(BadConfig, match="3 numbers"):
        per_axis((1, 2), 3)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("order", ["first", "last"])
def test_scores_without_gradients_are_those_of_the_convolution_class_by_class(dims, order):
    head = make_conv(dims, (6, 5), 1)
    features = torch.randn(2, 6, *(9, 7, 4)[:dims])
    if order == "last":
        features = features.to(memory_format=LAYERS[dims].memory_format)
    with torch.no_grad():
        logits = score(head, features)
        expected = head(features)
    assert logits.is_contiguous()
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(score(head, features), expected)  # with gradients
