"""Layers that 2D and 3D networks share: one table, ``dims`` -> layers, and blocks of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.errors import BadConfig
from medseg.networks.norms import Norm, is_translated, make_norm

#: One number for every axis, or one an axis.
PerAxis = int | tuple[int, ...]

Activation = Literal["leaky_relu", "relu", "gelu"]

LEAK = 0.01

#: Below this many output voxels a convolution under CPU autocast stays in float32.
STEADY_VOXELS = 512


def steady(image: Tensor) -> bool:
    """Whether a 3D convolution of this image should stay in float32 although autocast is on.

    On the CPU, weight gradients of 3D convolutions over tiny grids (2×3×2 voxels) came back
    non-finite now and then from bfloat16 kernels although every input was finite; one such step
    poisons Adam's moments for good. Layers over few voxels are a percent of a network's work, so
    float32 costs nothing there.
    """
    voxels = 1
    for size in image.shape[2:]:
        voxels *= size
    return (
        image.device.type == "cpu" and torch.is_autocast_enabled("cpu") and voxels < STEADY_VOXELS
    )


class CPUConv3d(nn.Conv3d):
    """``nn.Conv3d`` that goes round two traps of torch's CPU kernels; elsewhere its plain self.

    - Few voxels stay in float32 (see ``steady``).
    - A single input channel is given a second one of zeros while training: over one channel the
      channels-last weight gradient is 25 times slower (325 ms against 13 ms for 1 → 16 channels,
      48×64×48 voxels, float32), a quarter of a whole U-Net's step.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the parent's name
        """(B, C, X, Y, Z) to (B, C', X', Y', Z')."""
        if input.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(input)
        if steady(input):
            with torch.autocast("cpu", enabled=False):
                return super().forward(input.to(self.weight.dtype))
        if self.in_channels == 1 and self.weight.requires_grad and torch.is_grad_enabled():
            beside = (0, 0, 0, 0, 0, 0, 0, 1)
            weight = functional.pad(self.weight, beside)
            padded: Tensor = self._conv_forward(functional.pad(input, beside), weight, self.bias)
            return padded
        return super().forward(input)


class CPUConvTranspose3d(nn.ConvTranspose3d):
    """``nn.ConvTranspose3d`` that keeps few voxels in float32 (see ``steady``)."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:  # noqa: A002
        """(B, C, X, Y, Z) to (B, C', X', Y', Z')."""
        if not steady(input):
            return super().forward(input, output_size)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.to(self.weight.dtype), output_size)


@dataclass(frozen=True)
class Layers:
    """The layers of one dimensionality."""

    conv: Callable[..., nn.Conv2d | nn.Conv3d]
    conv_transposed: Callable[..., nn.ConvTranspose2d | nn.ConvTranspose3d]
    max_pool: Callable[..., nn.Module]
    mean_pool: Callable[..., Tensor]
    dropout: Callable[[float], nn.Module]
    linear_mode: str
    memory_format: torch.memory_format


LAYERS: dict[int, Layers] = {
    2: Layers(
        conv=nn.Conv2d,
        conv_transposed=nn.ConvTranspose2d,
        max_pool=nn.MaxPool2d,
        mean_pool=functional.avg_pool2d,
        dropout=nn.Dropout2d,
        linear_mode="bilinear",
        memory_format=torch.channels_last,
    ),
    3: Layers(
        conv=CPUConv3d,
        conv_transposed=CPUConvTranspose3d,
        max_pool=nn.MaxPool3d,
        mean_pool=functional.avg_pool3d,
        dropout=nn.Dropout3d,
        linear_mode="trilinear",
        memory_format=torch.channels_last_3d,
    ),
}


def per_axis(value: PerAxis, dims: int) -> tuple[int, ...]:
    """One number an axis.

    Raises:
        BadConfig: a tuple of another length than ``dims``.
    """
    if isinstance(value, int):
        return (value,) * dims
    if len(value) != dims:
        raise BadConfig(
            "one number for each axis",
            found=list(value),
            expected=f"{dims} numbers, or one for all",
        )
    return tuple(value)


def ones(value: Sequence[int]) -> bool:
    """Whether a stride leaves every axis alone."""
    return all(step == 1 for step in value)


#: In place where it is safe: after a norm, a convolution or a sum, none of which keep their output.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "leaky_relu": lambda: nn.LeakyReLU(LEAK, inplace=True),
    "relu": lambda: nn.ReLU(inplace=True),
    "gelu": lambda: nn.GELU(),
}


def make_conv(
    dims: int,
    channels: tuple[int, int],
    kernel: PerAxis,
    stride: PerAxis = 1,
    *,
    bias: bool = True,
) -> nn.Conv2d | nn.Conv3d:
    """A convolution with half a kernel of zeros around: coarse voxel j sits on fine voxel s·j.

    Raises:
        BadConfig: an even kernel, which has no centre and would shift the image.
    """
    size = per_axis(kernel, dims)
    if any(k % 2 == 0 for k in size):
        raise BadConfig("an even kernel shifts the image", found=list(size), expected="odd numbers")
    conv = LAYERS[dims].conv(
        *channels,
        size,
        stride=per_axis(stride, dims),
        padding=tuple(k // 2 for k in size),
        bias=bias,
    )
    nn.init.kaiming_normal_(conv.weight, a=LEAK)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def score(head: nn.Module, features: Tensor) -> Tensor:
    """The 1×1 convolution at a network's end: (B, C, *spatial) to (B, K, *spatial).

    On the CPU without gradients it is one matrix product with the same sums, for its answer lies
    in memory class by class: whoever takes windows apart by class reads it six times as fast
    as the channels-last answer of the convolution.
    """
    if (
        features.device.type != "cpu"
        or torch.is_grad_enabled()
        or is_translated()
        or not isinstance(head, nn.Conv2d | nn.Conv3d)
        or head.bias is None
    ):
        logits: Tensor = head(features)
        return logits
    if features.is_contiguous():
        columns = features.flatten(2)
    else:  # channels last: the same numbers, seen as (B, C, voxels) without a copy
        columns = features.movedim(1, -1).flatten(1, -2).mT
    weight = head.weight.flatten(1).expand(len(features), -1, -1)
    product = torch.baddbmm(head.bias[None, :, None], weight, columns)
    answer: Tensor = product.unflatten(2, features.shape[2:])
    return answer


@dataclass(frozen=True)
class BlockStyle:
    """What the convolution blocks of one network have in common."""

    dims: int
    norm: Norm = "instance"
    groups: int = 8
    activation: Activation = "leaky_relu"

    def convolution(
        self, channels: tuple[int, int], kernel: PerAxis, stride: PerAxis = 1
    ) -> list[nn.Module]:
        """Convolution, then norm; no bias where the norm would take it away again."""
        bias = self.norm == "none"
        conv = make_conv(self.dims, channels, kernel, stride, bias=bias)
        if bias:
            return [conv]
        return [conv, make_norm(self.norm, self.dims, channels[1], self.groups)]

    def act(self) -> nn.Module:
        """The activation."""
        return ACTIVATIONS[self.activation]()


class ConvBlock(nn.Sequential):
    """Convolution → norm → activation."""

    def __init__(
        self, style: BlockStyle, channels: tuple[int, int], kernel: PerAxis, stride: PerAxis = 1
    ) -> None:
        super().__init__(*style.convolution(channels, kernel, stride), style.act())


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016, doi:10.1109/CVPR.2016.90).

    Departure: the shortcut shrinks by averaging before its 1×1 convolution, so that no voxel is
    skipped (the "ResNet-D" of He et al. 2019, doi:10.1109/CVPR.2019.00065).
    """

    def __init__(
        self, style: BlockStyle, channels: tuple[int, int], kernel: PerAxis, stride: PerAxis = 1
    ) -> None:
        super().__init__()
        width = channels[1]
        self.branch = nn.Sequential(
            *style.convolution(channels, kernel, stride),
            style.act(),
            *style.convolution((width, width), kernel),
        )
        shortcut: list[nn.Module] = [MeanShrink(style.dims, stride)]
        if channels[0] != width:
            shortcut += style.convolution(channels, 1)
        self.shortcut = nn.Sequential(*shortcut)
        self.act = style.act()

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) to (B, C', *ceil(spatial / stride))."""
        result: Tensor = self.act(self.branch(image) + self.shortcut(image))
        return result


def shrink_by_max(dims: int, stride: PerAxis) -> nn.Module:
    """The largest of each cell; a cell cut by the far border holds what is there."""
    size = per_axis(stride, dims)
    return nn.Identity() if ones(size) else LAYERS[dims].max_pool(size, ceil_mode=True)


class MeanShrink(nn.Module):
    """The mean of each cell; a cell cut by the far border averages what is there."""

    def __init__(self, dims: int, stride: PerAxis) -> None:
        super().__init__()
        self.stride = per_axis(stride, dims)
        self.pool = LAYERS[dims].mean_pool

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) to (B, C, *ceil(spatial / stride))."""
        if ones(self.stride):
            return image
        # torch refuses a cell longer than the axis, in 3D alone
        cell = [min(s, n) for s, n in zip(self.stride, image.shape[2:], strict=True)]
        return self.pool(image, cell, ceil_mode=True, count_include_pad=False)
