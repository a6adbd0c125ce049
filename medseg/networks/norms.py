"""Norms that can follow a convolution: instance, batch, group, or none."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from medseg.errors import BadConfig

Norm = Literal["instance", "batch", "group", "none"]


#: Samples that a GPU norms one by one; more are quicker in one go, copies included.
MOST_SAMPLES = 8


class _SampleBySample(torch.autograd.Function):
    """torch's batch norm over one sample at a time, written straight into one result."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        result = torch.empty_like(image)
        shape = (image.shape[0], image.shape[1])
        means, scales = (image.new_empty(shape, dtype=weight.dtype) for _ in range(2))
        for i in range(image.shape[0]):
            torch.ops.aten.native_batch_norm.out(
                image[i : i + 1],
                weight,
                bias,
                None,
                None,
                True,  # noqa: FBT003
                0.0,
                eps,
                out=result[i : i + 1],
                save_mean=means[i],
                save_invstd=scales[i],
            )
        ctx.save_for_backward(image, weight, means, scales)
        ctx.eps = eps
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        image, weight, means, scales = ctx.saved_tensors
        gradient = torch.empty_like(image)
        of_weight, of_bias = torch.zeros_like(weight), torch.zeros_like(weight)
        for i in range(image.shape[0]):
            one, one_weight, one_bias = torch.ops.aten.native_batch_norm_backward(
                upstream[i : i + 1],
                image[i : i + 1],
                weight,
                None,
                None,
                means[i],
                scales[i],
                True,  # noqa: FBT003
                ctx.eps,
                [True, True, True],
            )
            gradient[i : i + 1] = one
            of_weight += one_weight
            of_bias += one_bias
        return gradient, of_weight, of_bias, None


class InstanceNorm(nn.Module):
    """Normalises each channel of each sample over its voxels (doi:10.48550/arXiv.1607.08022).

    On the CPU, and on a GPU for a few samples in channels-last order, it runs torch's batch norm
    over one sample at a time: the only one of torch's norm kernels that is quick in the order that
    the convolutions want. ``F.instance_norm`` copies to channels-first and back; ``F.group_norm``
    goes backwards slowly.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) to the same, each channel about ``bias`` with spread ``weight``."""
        if is_translated() or not (image.device.type == "cpu" or _is_few_last(image)):
            return functional.instance_norm(image, weight=self.weight, bias=self.bias, eps=self.eps)
        normed: Tensor = _SampleBySample.apply(  # type: ignore[no-untyped-call]
            image, self.weight, self.bias, self.eps
        )
        return normed


def _is_few_last(image: Tensor) -> bool:
    """Whether an image on a GPU is of a few samples, with the channels of a voxel side by side."""
    order = torch.channels_last if image.ndim == 4 else torch.channels_last_3d
    return image.is_cuda and len(image) <= MOST_SAMPLES and image.is_contiguous(memory_format=order)


def is_translated() -> bool:
    """Whether the network is being compiled, exported or traced: plain layers alone, then."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export() or tracing


def make_norm(kind: Norm, dims: int, channels: int, groups: int = 8) -> nn.Module:
    """The normalisation layer of this kind.

    Raises:
        BadConfig: ``groups`` does not divide the channels of a group norm.
    """
    if kind == "instance":
        return InstanceNorm(channels)
    if kind == "batch":
        return nn.BatchNorm2d(channels) if dims == 2 else nn.BatchNorm3d(channels)
    if kind == "none":
        return nn.Identity()
    if channels % groups:
        raise BadConfig(
            "group norm needs channels that the groups divide",
            found=f"{channels} channels in {groups} groups",
            remedy="Change groups or features.",
        )
    return nn.GroupNorm(groups, channels)
