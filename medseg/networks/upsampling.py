"""Ways in which a coarse map becomes a finer one: one table for every network.

Every kind goes by whole factors: coarse voxel j becomes fine voxels s·j … s·j+s−1, whatever the
size, and what reaches past the wanted size is cut off at the far end. Resizing to an odd size
directly (7 from 4, say) would stretch the map and shift it by up to half a voxel.

Odena, Dumoulin and Olah 2016, "Deconvolution and checkerboard artifacts"
(doi:10.23915/distill.00003), compare the first five; sub-pixel convolution is Shi et al. 2016
(doi:10.1109/CVPR.2016.207), its start Aitken et al. 2017 (doi:10.48550/arXiv.1707.02937).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.networks.blocks import LAYERS, LEAK, PerAxis, make_conv, per_axis

Upsampling = Literal[
    "transposed", "transposed_uneven", "transposed_even", "nearest", "linear", "subpixel"
]


class Rise(nn.Module):
    """A learned step from coarse to fine.

    ``start_as_interpolation`` makes it plain interpolation until it learns better.
    """

    def forward(self, coarse: Tensor) -> Tensor:
        """(B, C, *spatial) to (B, C', *spatial times the stride)."""
        raise NotImplementedError

    def start_as_interpolation(self) -> None:
        """Set the weights so that each output channel interpolates its input channel."""
        raise NotImplementedError


class Transposed(Rise):
    """Transposed convolution: every coarse voxel stamps its kernel onto the fine grid.

    Kernel k and stride s along each axis decide how stamps overlap: not at all (k = s), unevenly
    (k not a multiple of s: some fine voxels get more stamps than others, the checkerboard), or
    evenly (k = 2s). An uneven kernel of 3 at stride 2 has no symmetric place on an even grid; it
    sits on fine voxel 2j, half a voxel before the middle of its cell.

    Where stamps overlap, the coarse map's border is repeated once around it, so that voxels at the
    edge of the image get as many stamps as others (with zeros there, an FCN's scores would fade
    towards the edge, by a half at each side).
    """

    def __init__(
        self,
        dims: int,
        channels: tuple[int, int],
        stride: PerAxis,
        groups: int,
        overlap: Literal["none", "uneven", "even"],
    ) -> None:
        super().__init__()
        self.stride = per_axis(stride, dims)
        self.overlaps = overlap != "none"
        kernel, self.padding, beyond = zip(*(_stamp(s, overlap) for s in self.stride), strict=True)
        self.conv = LAYERS[dims].conv_transposed(
            *channels,
            kernel,
            stride=self.stride,
            padding=self.padding,
            output_padding=beyond,
            groups=groups,
        )
        self._start()

    def _start(self) -> None:
        """Kaiming's spread for the number of stamps that meet in a fine voxel.

        Without overlap every fine voxel of a cell starts with the same weights, as ICNR does for
        sub-pixel convolution: independent ones would print a pattern of their own.
        """
        weight = self.conv.weight
        stamps = math.prod(k / s for k, s in zip(weight.shape[2:], self.stride, strict=True))
        fan_in = weight.shape[0] / self.conv.groups * stamps
        nn.init.normal_(weight, std=math.sqrt(2 / (1 + LEAK**2) / fan_in))
        if not self.overlaps:
            with torch.no_grad():
                first = weight.flatten(2)[:, :, :1]
                weight.copy_(first.expand(-1, -1, math.prod(weight.shape[2:])).view_as(weight))
        _zero(self.conv.bias)

    def forward(self, coarse: Tensor) -> Tensor:
        """(B, C, *spatial) to (B, C', *spatial times the stride)."""
        if not self.overlaps:
            fine: Tensor = self.conv(coarse)
            return fine
        fine = self.conv(_border_repeated(coarse, self.stride))
        for axis, step in enumerate(self.stride, start=2):
            if step > 1:
                fine = fine.narrow(axis, step, coarse.shape[axis] * step)
        return fine

    def start_as_interpolation(self) -> None:
        """Linear interpolation where stamps overlap, copies where they do not."""
        _on_diagonal(self.conv.weight, _hat(self.conv.weight.shape[2:], self.stride))
        _zero(self.conv.bias)


class Resize(Rise):
    """Interpolation, then a 3×3(×3) convolution: no stamps, so no checkerboard."""

    def __init__(
        self,
        dims: int,
        channels: tuple[int, int],
        stride: PerAxis,
        groups: int,
        mode: Literal["nearest", "linear"],
    ) -> None:
        super().__init__()
        self.stride = per_axis(stride, dims)
        self.mode = LAYERS[dims].linear_mode if mode == "linear" else "nearest"
        kernel = tuple(1 if s == 1 else 3 for s in self.stride)
        self.conv = grouped_conv(dims, channels, kernel, groups)

    def forward(self, coarse: Tensor) -> Tensor:
        """(B, C, *spatial) to (B, C', *spatial times the stride)."""
        size = [n * s for n, s in zip(coarse.shape[2:], self.stride, strict=True)]
        if self.mode != "nearest":
            fine = functional.interpolate(coarse, size, mode=self.mode, align_corners=False)
        else:
            fine = functional.interpolate(coarse, size, mode="nearest")
        result: Tensor = self.conv(fine)
        return result

    def start_as_interpolation(self) -> None:
        """A convolution that passes its input."""
        _on_diagonal(self.conv.weight, _pulse(self.conv.weight.shape[2:]))
        _zero(self.conv.bias)


class SubPixel(Rise):
    """A convolution on the coarse grid makes all fine voxels of a cell; they are then spread out.

    Starts by ICNR: the fine voxels of a cell share one kernel, so the first output is the
    nearest-neighbour resize of a convolution and shows no checkerboard.
    """

    def __init__(self, dims: int, channels: tuple[int, int], stride: PerAxis, groups: int) -> None:
        super().__init__()
        self.stride = per_axis(stride, dims)
        self.channels = channels[1]
        kernel = tuple(1 if s == 1 else 3 for s in self.stride)
        self.cell = math.prod(self.stride)
        self.conv = grouped_conv(dims, (channels[0], channels[1] * self.cell), kernel, groups)
        with torch.no_grad():
            shared = self.conv.weight[:: self.cell]
            self.conv.weight.copy_(shared.repeat_interleave(self.cell, 0))

    def forward(self, coarse: Tensor) -> Tensor:
        """(B, C, *spatial) to (B, C', *spatial times the stride)."""
        dims = len(self.stride)
        cells: Tensor = self.conv(coarse)
        batch, _, *size = cells.shape
        cells = cells.reshape(batch, self.channels, *self.stride, *size)
        spread = [place for axis in range(dims) for place in (2 + dims + axis, 2 + axis)]
        fine = [n * s for n, s in zip(size, self.stride, strict=True)]
        return cells.permute(0, 1, *spread).reshape(batch, self.channels, *fine)

    def start_as_interpolation(self) -> None:
        """Every fine voxel copies its cell."""
        weight = torch.zeros_like(self.conv.weight[:: self.cell])
        _on_diagonal(weight, _pulse(weight.shape[2:]))
        with torch.no_grad():
            self.conv.weight.copy_(weight.repeat_interleave(self.cell, 0))
        _zero(self.conv.bias)


#: kind -> builder (dims, (in, out) channels, stride, groups).
UPSAMPLING: dict[str, Callable[[int, tuple[int, int], PerAxis, int], Rise]] = {
    "transposed": lambda d, c, s, g: Transposed(d, c, s, g, "none"),
    "transposed_uneven": lambda d, c, s, g: Transposed(d, c, s, g, "uneven"),
    "transposed_even": lambda d, c, s, g: Transposed(d, c, s, g, "even"),
    "nearest": lambda d, c, s, g: Resize(d, c, s, g, "nearest"),
    "linear": lambda d, c, s, g: Resize(d, c, s, g, "linear"),
    "subpixel": lambda d, c, s, g: SubPixel(d, c, s, g),
}


def make_rise(
    kind: Upsampling, dims: int, channels: tuple[int, int], stride: PerAxis, *, groups: int = 1
) -> Rise:
    """The upsampling step of this kind."""
    return UPSAMPLING[kind](dims, channels, stride, groups)


def cut_like(image: Tensor, like: Tensor) -> Tensor:
    """Keep the near corner of ``image``, as large as ``like``."""
    for axis in range(2, image.ndim):
        if image.shape[axis] != like.shape[axis]:
            image = image.narrow(axis, 0, like.shape[axis])
    return image


def grouped_conv(
    dims: int, channels: tuple[int, int], kernel: tuple[int, ...], groups: int
) -> nn.Conv2d | nn.Conv3d:
    """A size-keeping convolution within groups of channels, Kaiming's start."""
    if groups == 1:
        return make_conv(dims, channels, kernel)
    conv = LAYERS[dims].conv(
        *channels, kernel, padding=tuple(k // 2 for k in kernel), groups=groups
    )
    nn.init.kaiming_normal_(conv.weight, a=LEAK)
    _zero(conv.bias)
    return conv


def _stamp(stride: int, overlap: str) -> tuple[int, int, int]:
    """Kernel, padding and output padding that make a size grow by exactly ``stride``."""
    if stride == 1:
        return 1, 0, 0
    if overlap == "none":
        return stride, 0, 0
    if overlap == "uneven":
        return stride + 1, 1, 1
    return 2 * stride - stride % 2, stride // 2, 0


def _border_repeated(image: Tensor, stride: Sequence[int]) -> Tensor:
    """One more voxel at each end of the axes that will grow, equal to the last."""
    for axis, step in enumerate(stride, start=2):
        if step > 1:
            ends = image.narrow(axis, 0, 1), image.narrow(axis, image.shape[axis] - 1, 1)
            image = torch.cat([ends[0], image, ends[1]], axis)
    return image


def _hat(kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """The weights of linear interpolation: a triangle an axis, s wide each way (a box if k = s)."""
    hat = torch.ones(())
    for k, s in zip(kernel, stride, strict=True):
        place = torch.arange(k, dtype=torch.float64) - (k - 1) / 2
        axis = torch.ones(k, dtype=torch.float64) if k == s else 1 - place.abs() / s
        hat = hat[..., None] * axis
    return hat


def _pulse(kernel: Sequence[int]) -> Tensor:
    """All weight on the middle."""
    pulse = torch.zeros(tuple(kernel))
    pulse[tuple(k // 2 for k in kernel)] = 1
    return pulse


def _on_diagonal(weight: Tensor, kernel: Tensor) -> None:
    """Output channel i takes input channel i through ``kernel``, and nothing else."""
    with torch.no_grad():
        weight.zero_()
        # (out, in/groups) of a convolution, (in, out/groups) of a transposed one
        rows, columns = weight.shape[:2]
        for row in range(rows):
            weight[row, row % columns] = kernel.to(weight.dtype)


def _zero(bias: Tensor | None) -> None:
    if bias is not None:
        nn.init.zeros_(bias)
