"""The U-Net: a contracting and an expanding path joined level by level, in 2D and 3D.

Ronneberger, Fischer and Brox 2015 (doi:10.1007/978-3-319-24574-4_28); in 3D Çiçek et al. 2016
(doi:10.1007/978-3-319-46723-8_49). This is the padded form that everyone uses; the paper's own,
with valid convolutions, is ``unet_original.py``. Departures from the paper:

- convolutions keep the size (zeros around), so the output is as large as the input and skips
  are joined whole; on odd sizes the last cell of a pooling is a part cell;
- a norm after each convolution, leaky ReLU, no bias where a norm follows; no dropout at the
  bottom unless asked for;
- skips may be added or left out (``skips``), to see what they carry;
- widths, kernels and strides are free at each level (anisotropic voxels); blocks may be residual
  (He et al. 2016, doi:10.1109/CVPR.2016.90), shrinking may be by strided convolution, and coarser
  levels may be supervised (Lee et al. 2015, doi:10.48550/arXiv.1409.5185).

The residual preset follows the residual-encoder U-Net of Isensee et al. 2024
(doi:10.1007/978-3-031-72114-4_47): residual blocks and strided convolutions on the way down, one
plain convolution a level on the way up. (Its large presets use more blocks the deeper the level,
as ``convs_per_level: [1, 3, 4, 6, 6]`` does.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self, TypeVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from medseg.config import Options
from medseg.networks.blocks import (
    LAYERS,
    Activation,
    BlockStyle,
    ConvBlock,
    PerAxis,
    ResidualBlock,
    make_conv,
    per_axis,
    score,
    shrink_by_max,
)
from medseg.networks.norms import Norm
from medseg.networks.upsampling import Rise, Upsampling, cut_like, make_rise

Entry = TypeVar("Entry")


class UNetOptions(Options):
    """What can be chosen of a U-Net.

    Attributes:
        features: channels at each level, finest first; their number is the number of levels.
        kernels: of all convolutions, or one a level; each a number or one an axis. Odd.
        strides: between levels, so one fewer than levels, or one for all.
        stem: channels of one convolution before the first level; ``None`` has none.
        convs_per_level: convolutions (blocks, where residual) on the way down.
        convs_per_level_up: convolutions on the way up.
        block: plain convolutions, or residual blocks on the way down.
        shrink: how a level is made from the finer one.
        norm: after each convolution; ``groups`` is for ``group`` alone.
        upsampling: see ``upsampling.UPSAMPLING``.
        skips: how a level's features are handed across: beside what came up (the paper), added
            to it (as LinkNet does, doi:10.48550/arXiv.1707.03718), or not at all.
        dropout: share of whole channels dropped after each level while training.
        deep_supervision: whether coarser levels have outputs (``forward_deep``).
    """

    features: tuple[int, ...] = Field(default=(16, 32, 64, 128, 128), min_length=1)
    kernels: int | tuple[PerAxis, ...] = 3
    strides: int | tuple[PerAxis, ...] = 2
    stem: int | None = Field(default=None, ge=1)
    convs_per_level: int | tuple[int, ...] = 2
    convs_per_level_up: int | tuple[int, ...] = 2
    block: Literal["plain", "residual"] = "plain"
    shrink: Literal["max_pool", "strided_conv"] = "max_pool"
    norm: Norm = "instance"
    groups: int = Field(default=8, ge=1)
    activation: Activation = "leaky_relu"
    upsampling: Upsampling = "transposed"
    skips: Literal["concat", "sum", "none"] = "concat"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    deep_supervision: bool = False

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        levels = len(self.features)
        wanted = {
            "kernels": levels,
            "strides": levels - 1,
            "convs_per_level": levels,
            "convs_per_level_up": levels - 1,
        }
        for key, count in wanted.items():
            value = getattr(self, key)
            if not isinstance(value, int) and len(value) != count:
                raise ValueError(f"{key} needs {count} entries for {levels} levels, or one number")
        if min(_numbers(self.features, *(getattr(self, key) for key in wanted))) < 1:
            raise ValueError("features, kernels, strides and convs_per_level start at 1")
        return self


class ResidualUNetOptions(UNetOptions):
    """The residual-encoder preset: every option of the U-Net, other defaults."""

    block: Literal["plain", "residual"] = "residual"
    shrink: Literal["max_pool", "strided_conv"] = "strided_conv"
    convs_per_level_up: int | tuple[int, ...] = 1


class UNet(nn.Module):
    """Down by levels, up by levels, each level's features handed across.

    Coarse voxel j lies on fine voxels s·j … s·j+s−1 at every level and every size: nothing is
    stretched, so an odd size comes out as itself and in place.
    """

    def __init__(
        self, dims: int, in_channels: int, out_channels: int, options: UNetOptions
    ) -> None:
        super().__init__()
        plan = _Plan(dims, options)
        widths = options.features
        self.style = plan.style
        self.skips = options.skips
        self.strides = [per_axis(stride, dims) for stride in plan.strides]
        self.stem = plan.stem(in_channels)
        entering = (options.stem or in_channels, *widths)
        self.contract = nn.ModuleList(
            plan.level(level, entering[level]) for level in range(len(widths))
        )
        upward = range(len(widths) - 2, -1, -1)
        self.rise = nn.ModuleList(plan.rise(level) for level in upward)
        self.merge = nn.ModuleList(plan.merge(level) for level in upward)
        supervised = range(len(widths) - 1) if options.deep_supervision else range(1)
        self.heads = nn.ModuleList(
            make_conv(dims, (widths[level], out_channels), 1) for level in supervised
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) intensities to (B, K, *spatial) logits."""
        return score(self.heads[0], self._finest_first(image)[0])

    def forward_deep(self, image: Tensor) -> list[Tensor]:
        """(B, C, *spatial) to logits at each supervised level, finest first.

        Level i has ceil(size / strides so far) voxels an axis. Without ``deep_supervision`` the
        finest is the only one.
        """
        maps = self._finest_first(image)
        return [head(features) for head, features in zip(self.heads, maps, strict=False)]

    @property
    def deep_strides(self) -> list[tuple[int, ...]]:
        """Image voxels a voxel of each level of ``forward_deep`` along each axis."""
        strides = [(1,) * self.style.dims]
        for step in self.strides[: len(self.heads) - 1]:
            strides.append(tuple(a * b for a, b in zip(strides[-1], step, strict=True)))
        return strides

    def deepest_path(self) -> list[nn.Module]:
        """The longest way from image to logits, in order (for the receptive field)."""
        steps = zip(self.rise, self.merge, strict=True)
        return [
            self.stem,
            *self.contract,
            *(module for step in steps for module in step),
            self.heads[0],
        ]

    def _finest_first(self, image: Tensor) -> list[Tensor]:
        """The features of each level of the expanding path."""
        skips = []
        image = self.stem(image)
        for level in self.contract:
            image = level(image)
            skips.append(image)
        maps = [skips.pop()]
        for rise, merge in zip(self.rise, self.merge, strict=True):
            skip = skips.pop()
            maps.append(merge(self._join(skip, cut_like(rise(maps[-1]), skip))))
        return maps[::-1]

    def _join(self, skip: Tensor, risen: Tensor) -> Tensor:
        """What a level convolves on the way up."""
        if self.skips == "concat":
            return torch.cat([skip, risen], 1)
        return skip + risen if self.skips == "sum" else risen


class _Plan:
    """The parts of a U-Net, level by level; level 0 is the finest."""

    def __init__(self, dims: int, options: UNetOptions) -> None:
        self.options = options
        self.style = BlockStyle(dims, options.norm, options.groups, options.activation)
        levels = len(options.features)
        self.kernels = _each(options.kernels, levels)
        self.strides = _each(options.strides, levels - 1)
        self.down = _each(options.convs_per_level, levels)
        self.up = _each(options.convs_per_level_up, levels - 1)

    def stem(self, channels: int) -> nn.Module:
        """One convolution before the first level, where there is one."""
        if self.options.stem is None:
            return nn.Identity()
        return ConvBlock(self.style, (channels, self.options.stem), self.kernels[0])

    def level(self, level: int, channels: int) -> nn.Sequential:
        """Shrink (but for the first level), then convolve."""
        stride: PerAxis = self.strides[level - 1] if level else 1
        parts: list[nn.Module] = []
        if self.options.shrink == "max_pool":
            parts, stride = [shrink_by_max(self.style.dims, stride)], 1
        block = ResidualBlock if self.options.block == "residual" else ConvBlock
        parts += self._chain(block, level, channels, self.down[level], stride)
        return nn.Sequential(*parts)

    def rise(self, level: int) -> Rise:
        """From the level below to this one, as wide as this one's skip."""
        channels = (self.options.features[level + 1], self.options.features[level])
        return make_rise(self.options.upsampling, self.style.dims, channels, self.strides[level])

    def merge(self, level: int) -> nn.Sequential:
        """Convolve what came up together with what came across."""
        channels = self.options.features[level] * (2 if self.options.skips == "concat" else 1)
        return nn.Sequential(*self._chain(ConvBlock, level, channels, self.up[level], 1))

    def _chain(
        self,
        block: type[ConvBlock] | type[ResidualBlock],
        level: int,
        channels: int,
        count: int,
        stride: PerAxis,
    ) -> list[nn.Module]:
        width = self.options.features[level]
        kernel = self.kernels[level]
        first = block(self.style, (channels, width), kernel, stride)
        rest = [block(self.style, (width, width), kernel) for _ in range(count - 1)]
        parts: list[nn.Module] = [first, *rest]
        if self.options.dropout:
            parts.append(LAYERS[self.style.dims].dropout(self.options.dropout))
        return parts


def _each(value: int | tuple[Entry, ...], count: int) -> tuple[int | Entry, ...]:
    """One value a level from a list, or from one for all."""
    return (value,) * count if isinstance(value, int) else value


def _numbers(*values: PerAxis | tuple[PerAxis, ...]) -> Iterator[int]:
    """Every number in nested tuples."""
    for value in values:
        if isinstance(value, int):
            yield value
        else:
            yield from _numbers(*value)
