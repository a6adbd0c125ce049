"""Lists the feature maps of a network for a given input, in the order in which they are computed.

Nothing is computed: shapes alone are followed, so any input size can be asked about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.nn.modules.conv import _ConvNd

from medseg.networks.upsampling import Rise

Operation = Literal["convolution", "pooling", "upsampling"]


@dataclass(frozen=True)
class FeatureMap:
    """What one layer gives.

    Attributes:
        part: where in the network the layer lies, such as ``contract.0.1``.
        operation: of the layer.
        kernel: of a convolution along each axis; the factor of a pooling or upsampling.
        channels: of the map.
        size: voxels along each axis.
        came_from: voxels along each axis of what the layer was given.
    """

    part: str
    operation: Operation
    kernel: tuple[int, ...]
    channels: int
    size: tuple[int, ...]
    came_from: tuple[int, ...]


def outline(network: nn.Module, shape: Sequence[int]) -> list[FeatureMap]:
    """Every map on the way of an input of this shape (B, C, *spatial).

    Shortcuts of residual blocks are left out: they go beside the convolutions that are listed.

    >>> from medseg.networks import build_network
    >>> network = build_network("unet_original", dims=2, in_channels=1, out_channels=2)
    >>> maps = outline(network, (1, 1, 388, 388))
    >>> maps[0].came_from, maps[0].size, maps[-1].size
    ((572, 572), (570, 570), (388, 388))
    """
    maps: list[FeatureMap] = []
    hooks = [
        module.register_forward_hook(_note(maps, name, operation))
        for name, module in network.named_modules()
        if (operation := _operation(network, name, module)) is not None
    ]
    try:
        with (
            FakeTensorMode() as fake
        ):  # with gradients: without, a head on the CPU is a bare product
            weights: dict[str, Tensor] = {
                name: fake.from_tensor(value)
                for name, value in network.state_dict(keep_vars=True).items()
            }
            functional_call(network, weights, (torch.empty(tuple(shape)),))
    finally:
        for hook in hooks:
            hook.remove()
    return maps


def _operation(network: nn.Module, name: str, module: nn.Module) -> Operation | None:
    """What a layer counts as; ``None`` for parts of layers and for what changes no shape."""
    if isinstance(module, Rise):
        return "upsampling"
    if isinstance(module, nn.MaxPool2d | nn.MaxPool3d):
        return "pooling"
    parent = network.get_submodule(name.rpartition(".")[0])
    inside = isinstance(parent, Rise) or ".shortcut." in name
    return "convolution" if isinstance(module, _ConvNd) and not inside else None


def _note(maps: list[FeatureMap], part: str, operation: Operation) -> Any:
    def hook(module: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        size, before = tuple(result.shape[2:]), tuple(given[0].shape[2:])
        kernel = _kernel(module, len(size))
        maps.append(FeatureMap(part, operation, kernel, result.shape[1], size, before))

    return hook


def _kernel(module: nn.Module, dims: int) -> tuple[int, ...]:
    """The kernel of a convolution; the factor of a pooling or an upsampling."""
    value = module.stride if isinstance(module, Rise) else module.kernel_size
    return (value,) * dims if isinstance(value, int) else tuple(value)  # type: ignore[arg-type]
