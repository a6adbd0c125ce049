"""The first U-Net exactly: valid convolutions, cropped skips, 572×572 in, 388×388 out.

Ronneberger, Fischer and Brox 2015 (doi:10.1007/978-3-319-24574-4_28): five levels of 64 to 1024
channels, two 3×3 convolutions without padding and ReLU at each, 2×2 max pooling down, 2×2
up-convolutions that halve the channels. With four levels and ``dims`` 3 it has the sizes of Çiçek
et al. 2016 (doi:10.1007/978-3-319-46723-8_49): 132×132×116 in, 44×44×28 out. Departures:

- to fit the table (as large out as in) the border is mirrored first, as the paper does to segment
  whole images; ``valid`` is the paper's network itself;
- no dropout at the end of the contracting path unless asked for;
- the up-convolution can be any kind of ``UPSAMPLING``;
- in 3D the paper doubles channels before pooling and uses batch norm; here they double after.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from medseg.config import Options
from medseg.networks.blocks import LAYERS
from medseg.networks.upsampling import Upsampling, cut_like, make_rise

#: Voxels an axis that the two valid convolutions of a level take away.
LOST = 4

#: dims -> channels at each level.
PAPER_FEATURES = {2: (64, 128, 256, 512, 1024), 3: (64, 128, 256, 512)}


class OriginalUNetOptions(Options):
    """What can be chosen of the original.

    Attributes:
        features: channels at each level; ``None`` is the papers': 64 to 1024 over five levels in
            2D, 64 to 512 over four in 3D.
        dropout: share of whole channels dropped at the bottom while training.
        upsampling: see ``upsampling.UPSAMPLING``; the paper's is ``transposed``.
    """

    features: tuple[int, ...] | None = Field(default=None, min_length=2)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    upsampling: Upsampling = "transposed"


class ValidUNet(nn.Module):
    """The paper's network: the output is smaller than the input by ``2 * margin`` an axis."""

    def __init__(
        self, dims: int, in_channels: int, out_channels: int, options: OriginalUNetOptions
    ) -> None:
        super().__init__()
        widths = options.features or PAPER_FEATURES[dims]
        self.pool = LAYERS[dims].max_pool(2)
        self.contract = nn.ModuleList(
            _twice(dims, before, width)
            for before, width in zip((in_channels, *widths[:-2]), widths[:-1], strict=True)
        )
        self.bottom = nn.Sequential(
            _twice(dims, widths[-2], widths[-1]), LAYERS[dims].dropout(options.dropout)
        )
        steps = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.rise = nn.ModuleList(make_rise(options.upsampling, dims, step, 2) for step in steps)
        self.merge = nn.ModuleList(_twice(dims, 2 * width, width) for _, width in steps)
        self.head = LAYERS[dims].conv(widths[0], out_channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *tile) to (B, K, *tile less the margins); see ``tile_for``."""
        skips = []
        for block in self.contract:
            image = block(image)
            skips.append(image)
            image = self.pool(image)
        image = self.bottom(image)
        for rise, merge in zip(self.rise, self.merge, strict=True):
            image = rise(image)
            image = merge(torch.cat([_crop_middle(skips.pop(), image), image], 1))
        logits: Tensor = self.head(image)
        return logits


class OriginalUNet(nn.Module):
    """The paper's network with the border mirrored around, so that size in is size out."""

    def __init__(
        self, dims: int, in_channels: int, out_channels: int, options: OriginalUNetOptions
    ) -> None:
        super().__init__()
        self.valid = ValidUNet(dims, in_channels, out_channels, options)
        self.poolings = len(self.valid.contract)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) intensities to (B, K, *spatial) logits."""
        tile = image
        for axis in range(2, image.ndim):
            size = image.shape[axis]
            index = mirrored(size, margin(self.poolings), tile_for(size, self.poolings))
            tile = tile.index_select(axis, index.to(image.device))
        logits: Tensor = self.valid(tile)
        return cut_like(logits, image)

    def forward_deep(self, image: Tensor) -> list[Tensor]:
        """The logits as a list of one: the original has no outputs at coarser levels."""
        return [self(image)]

    def deepest_path(self) -> list[nn.Module]:
        """The longest way from image to logits, in order (for the receptive field)."""
        valid = self.valid
        down = [module for block in valid.contract for module in (block, valid.pool)]
        steps = zip(valid.rise, valid.merge, strict=True)
        return [*down, valid.bottom, *(module for step in steps for module in step), valid.head]


def margin(poolings: int) -> int:
    """Voxels lost at each end of an axis: 92 with the paper's four poolings."""
    one_way = LOST * ((1 << poolings) - 1)
    return one_way + LOST * (1 << poolings) // 2  # down, half the bottom's, and up, at each end


def tile_for(size: int, poolings: int) -> int:
    """The smallest input tile whose output covers ``size``: every pooled size must be even."""
    bottom = 1
    while _grown(bottom, poolings) < size:
        bottom += 1
    return _grown(bottom, poolings) + 2 * margin(poolings)


def mirrored(size: int, before: int, total: int) -> Tensor:
    """Indices into an axis of ``size`` voxels, mirrored at its ends as often as it takes.

    The voxel at the end is the mirror and is not repeated: 2 1 | 0 1 2 | 1 0.
    """
    place = torch.arange(-before, total - before)
    if size == 1:
        return torch.zeros_like(place)
    period = 2 * (size - 1)
    place = place.remainder(period)
    return torch.minimum(place, period - place)


def _grown(bottom: int, poolings: int) -> int:
    """Output size from ``bottom`` voxels at the deepest level."""
    for _ in range(poolings):
        bottom = 2 * bottom - LOST
    return bottom


def _twice(dims: int, channels: int, width: int) -> nn.Sequential:
    """Two valid 3×3(×3) convolutions with ReLU, started as the paper says (He et al. 2015)."""
    convs = [LAYERS[dims].conv(channels, width, 3), LAYERS[dims].conv(width, width, 3)]
    for conv in convs:
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
    return nn.Sequential(convs[0], nn.ReLU(inplace=True), convs[1], nn.ReLU(inplace=True))


def _crop_middle(skip: Tensor, like: Tensor) -> Tensor:
    """The middle of a skip, as large as what came up."""
    for axis in range(2, skip.ndim):
        size = like.shape[axis]
        skip = skip.narrow(axis, (skip.shape[axis] - size) // 2, size)
    return skip
