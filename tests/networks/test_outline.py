"""The outline of a network says the sizes and channels that its papers print."""

from __future__ import annotations

import pytest
import torch

from medseg.networks import NETWORKS, build_network
from medseg.networks.outline import outline


def test_the_original_unet_has_the_sizes_of_its_figure():
    network = build_network("unet_original", dims=2, in_channels=1, out_channels=2)
    maps = outline(network, (1, 1, 388, 388))
    sizes = [572, *(each.size[0] for each in maps)]
    down = [572, 570, 568, 284, 282, 280, 140, 138, 136, 68, 66, 64, 32, 30, 28]
    up = [56, 54, 52, 104, 102, 100, 200, 198, 196, 392, 390, 388, 388]
    assert sizes == down + up
    assert max(each.channels for each in maps) == 1024 and maps[-1].channels == 2


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_ends_with_as_many_voxels_as_it_was_given(name, dims):
    features = (2, 3, 4, 5, 6) if name.startswith("fcn") else (2, 3, 4)
    network = build_network(
        name, dims=dims, in_channels=1, out_channels=3, options={"features": features}
    )
    shape = (1, 1, *(37, 30, 33)[:dims])
    last = outline(network, shape)[-1]
    assert last.channels == 3 and all(a >= b for a, b in zip(last.size, shape[2:], strict=True))


def test_outlining_computes_nothing_and_leaves_the_network_as_it_was():
    network = build_network("unet", dims=3, in_channels=1, out_channels=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    maps = outline(network, (1, 1, 4096, 4096, 4096))  # 256 GiB a map
    assert maps[0].size == (4096,) * 3
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())
