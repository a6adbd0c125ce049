"""The order of an image's values in memory in which a network trains quickest on its device."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from medseg.memory import is_out_of_memory
from medseg.networks.blocks import LAYERS

#: Channels of a voxel side by side, or one whole channel after the other.
Layout = Literal["channels_last", "channels_first"]

LAYOUTS: tuple[Layout, ...] = ("channels_last", "channels_first")

#: Passes forward and backward before, in which kernels are chosen, and those that are timed.
_UNTIMED, _TIMED = 2, 3


def memory_format(layout: Layout, dims: int) -> torch.memory_format:
    """Torch's name for a layout of images in 2D or 3D."""
    return torch.contiguous_format if layout == "channels_first" else LAYERS[dims].memory_format


def quickest_layout(
    network: nn.Module, shape: Sequence[int], device: torch.device, dtype: torch.dtype
) -> Layout:
    """The layout in which a copy of a network goes forward and backward in the least time.

    Which one it is depends on card, widths, patch and the kernels that a version of cuDNN has, so
    that no rule replaces a trial of a second or two. The network itself is not changed.

    Args:
        network: with ``forward_deep``.
        shape: (B, C, *spatial) of a batch.
        device: to try it on.
        dtype: of its products; float32 means no autocast.
    """
    seconds = {}
    for layout in LAYOUTS:
        try:
            seconds[layout] = _seconds(network, shape, device, dtype, layout)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return min(LAYOUTS, key=lambda layout: seconds.get(layout, float("inf")))


def _seconds(
    network: nn.Module,
    shape: Sequence[int],
    device: torch.device,
    dtype: torch.dtype,
    layout: Layout,
) -> float:
    """Time of the passes of a copy."""
    order = memory_format(layout, len(shape) - 2)
    trial = copy.deepcopy(network).to(device).train()
    trial.to(memory_format=order)  # type: ignore[call-overload]
    generator = torch.Generator(device).manual_seed(1)
    image = torch.randn(*shape, generator=generator, device=device).contiguous(memory_format=order)
    began = 0.0
    for number in range(_UNTIMED + _TIMED):
        if number == _UNTIMED:
            _wait(device)
            began = time.perf_counter()
        with _precision(device, dtype):
            logits: Sequence[Tensor] = trial.forward_deep(image)  # type: ignore[operator]
        torch.stack([each.float().square().mean() for each in logits]).sum().backward()
        trial.zero_grad(set_to_none=True)
    _wait(device)
    return time.perf_counter() - began


def _precision(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def _wait(device: torch.device) -> None:
    """Until the device has done all it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
