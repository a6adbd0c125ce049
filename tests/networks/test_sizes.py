"""An image of any size comes out as its own size and in its own place, to less than half a voxel.

Two properties pin the place down, without tolerance for a shift:

- *what lies beyond does not matter*: cutting the far end off an image leaves the logits near the
  beginning as they were, whatever size remains (a map stretched to an odd size would move them);
- *no side is favoured*: with kernels made symmetric, a mirrored image gives mirrored logits (an
  upsampling half a voxel off would not).
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from medseg.networks import NETWORKS, build_network
from medseg.networks.inspect import receptive_field
from medseg.networks.upsampling import UPSAMPLING, SubPixel

UNETS = ["unet", "residual_unet", "unet_original"]
CENTRED = [kind for kind in UPSAMPLING if kind != "transposed_uneven"]


def without_norm(name: str, dims: int, **options: object) -> nn.Module:
    """A tiny network whose logits depend on nearby voxels alone."""
    torch.manual_seed(1)
    given: dict[str, object] = {"features": (2, 3, 4), **options}
    if name != "unet_original":
        given["norm"] = "none"
    if name.startswith("fcn"):
        given |= {"features": (2, 2, 2, 3, 3), "convs_per_stage": (1, 1, 1, 1, 1)}
        given |= {"head_features": 4}
    network = build_network(name, dims=dims, in_channels=1, out_channels=2, options=given)
    for score in getattr(network, "score_skip", {}).values():
        nn.init.normal_(score.weight)  # zero at the start: a shift in a skip would not show
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize(("name", "largest"), [*zip(UNETS, (13, 13, 9), strict=True)])
def test_every_2d_size_comes_out_as_itself(name, largest):
    network = without_norm(name, 2)
    for size in itertools.product(range(1, largest + 1), repeat=2):
        assert network(torch.zeros(1, 1, *size)).shape[2:] == size


@pytest.mark.parametrize(("name", "largest"), [*zip(UNETS, (7, 7, 5), strict=True)])
def test_every_3d_size_comes_out_as_itself(name, largest):
    network = without_norm(name, 3)
    for size in itertools.combinations_with_replacement(range(1, largest + 1), 3):
        for order in {size, size[::-1]}:
            assert network(torch.zeros(1, 1, *order)).shape[2:] == order


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("axis", [0, 1])
def test_every_2d_size_from_1_to_70_comes_out_as_itself(name, axis):
    network = without_norm(name, 2)
    for size in range(1, 71):
        shape = (size, 71 - size) if axis == 0 else (size, size)
        assert network(torch.zeros(1, 1, *shape)).shape[2:] == shape


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("axis", "largest"),
    # a whole stride of the coarsest network, and two
    [(0, 33), *(pytest.param(axis, 70, marks=pytest.mark.slow) for axis in (0, 1, 2))],
)
def test_every_3d_size_comes_out_as_itself_along_each_axis(name, axis, largest):
    network = without_norm(name, 3)
    for size in range(1, largest + 1):
        shape = [1 + size % 5, 1 + size % 3, 1 + size % 7]
        shape[axis] = size
        assert network(torch.zeros(1, 1, *shape)).shape[2:] == tuple(shape)


@pytest.mark.parametrize("skips", ["sum", "none"])
@pytest.mark.parametrize("dims", [2, 3])
def test_sizes_do_not_depend_on_how_skips_are_joined(skips, dims):
    network = without_norm("unet", dims, skips=skips)
    for size in range(1, 14):
        shape = (size, 14 - size, 3)[:dims]
        assert network(torch.zeros(1, 1, *shape)).shape[2:] == shape


def image_along(axis: int, dims: int, size: int) -> Tensor:
    shape = [1] * dims
    shape[axis] = size
    return torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("upsampling", UPSAMPLING)
@pytest.mark.parametrize(("dims", "axis"), [(2, 0), (2, 1), (3, 0), (3, 1), (3, 2)])
@pytest.mark.parametrize("name", [n for n in NETWORKS if n.endswith("unet")])
def test_cutting_the_far_end_off_moves_nothing(name, dims, axis, upsampling):
    network = without_norm(name, dims, upsampling=upsampling)
    reach = receptive_field(network, dims)[axis]
    whole = image_along(axis, dims, reach + 24)
    expected = network(whole)
    for size in range(reach + 8, reach + 24):  # four periods of the total stride, 4
        logits = network(whole.narrow(2 + axis, 0, size))
        assert logits.shape[2 + axis] == size
        same = size - reach
        torch.testing.assert_close(
            logits.narrow(2 + axis, 0, same), expected.narrow(2 + axis, 0, same)
        )


@pytest.mark.parametrize("name", ["fcn32s", "fcn16s", "fcn8s", "unet_original"])
def test_cutting_the_far_end_off_moves_nothing_where_cells_are_large(name):
    network = without_norm(name, 2)
    reach = receptive_field(network, 2)[0]
    whole = image_along(0, 2, reach + 72)
    expected = network(whole)
    for size in range(reach + 36, reach + 70):  # a whole period of 32
        same = size - reach
        torch.testing.assert_close(
            network(whole[:, :, :size])[:, :, :same], expected[:, :, :same], atol=1e-4, rtol=1e-4
        )


@torch.no_grad()
def make_symmetric(network: nn.Module) -> None:
    """Average every kernel with its mirror images along all axes."""
    cells = {m.conv: m for m in network.modules() if isinstance(m, SubPixel)}
    for module in network.modules():
        weight = getattr(module, "weight", None)
        if weight is None or weight.ndim < 4:
            continue
        if module in cells:  # its fine voxels stay as alike as ICNR made them
            weight = weight[:: cells[module].cell].repeat_interleave(cells[module].cell, 0)
        for axis in range(2, weight.ndim):
            weight = (weight + weight.flip(axis)) / 2
        module.weight.copy_(weight)


@pytest.mark.parametrize("upsampling", CENTRED)
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", ["unet", "unet_original"])
def test_a_mirrored_image_gives_mirrored_logits(name, dims, upsampling):
    network = without_norm(name, dims, upsampling=upsampling)
    make_symmetric(network)
    image = torch.randn(1, 1, *(16, 12, 8)[:dims])
    for axis in range(2, 2 + dims):
        torch.testing.assert_close(network(image.flip(axis)), network(image).flip(axis))


@pytest.mark.parametrize("name", ["fcn32s", "fcn16s", "fcn8s"])
def test_a_mirrored_image_gives_mirrored_fcn_logits(name):
    network = without_norm(name, 2)
    make_symmetric(network)
    image = torch.randn(1, 1, 96, 64)
    for axis in (2, 3):
        torch.testing.assert_close(
            network(image.flip(axis)), network(image).flip(axis), atol=1e-4, rtol=1e-4
        )


def test_the_mirror_test_sees_half_a_voxel():
    network = without_norm("unet", 2, upsampling="transposed_uneven")
    make_symmetric(network)
    image = torch.randn(1, 1, 16, 12)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(network(image.flip(2)), network(image).flip(2))
