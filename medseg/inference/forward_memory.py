"""Measure the memory of one forward pass by running it once."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

#: Convolutions on CPUs pack their channels in groups of this many.
PACKED_CHANNELS = 16


def forward_bytes(answer: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor) -> int:
    """Peak bytes of one forward pass, input and output included, from running it once.

    On a GPU its allocator says what was held at most, cuDNN's workspaces included.

    On a CPU, what lives at a time is added up, operation by operation. A convolution also
    holds its input and output in packed form for a moment. The answer, larger than anything
    before where classes are many, finds no place in what was freed before it.
    """
    if image.device.type == "cuda":
        return _forward_bytes_on_gpu(answer, image)
    with torch.inference_mode(), Living() as living:
        logits = answer(image)
        peak: int = max(living.peak, living.peak_before(logits) + logits.nbytes)
    return peak + int(image.nbytes)


def _forward_bytes_on_gpu(
    answer: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor
) -> int:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(image.device)
    before = torch.cuda.memory_allocated(image.device)
    with torch.inference_mode():
        answer(image)
    peak = torch.cuda.max_memory_allocated(image.device) - before
    return int(peak) + int(image.nbytes)


class Living(TorchDispatchMode):
    """Adds up torch's storages that are alive at a time, while it is entered.

    Attributes:
        peak: the most bytes at a time.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak: int = 0
        self._now: int = 0
        self._known: dict[int, int] = {}
        self._peak_before: dict[int, int] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """What torch asks: yes would load all of torch.compile, for which a scan waits seconds."""
        return False

    def peak_before(self, tensor: torch.Tensor) -> int:
        """The most bytes at a time before a tensor's storage was there; 0 if it never came."""
        return self._peak_before.get(tensor.untyped_storage()._cdata, 0)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._meet(tensor)
        packed = 0
        if "conv" in str(func) and isinstance(result, torch.Tensor):
            packed = sum(_packed_bytes(tensor) for tensor in (args[0], result))
        self.peak = max(self.peak, self._now + packed)
        return result

    def _meet(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._known:
            self._known[key] = storage.nbytes()
            self._peak_before[key] = self.peak
            self._now += storage.nbytes()
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self._now -= self._known.pop(key, 0)


def _packed_bytes(tensor: torch.Tensor) -> int:
    channels = int(tensor.shape[1])
    packed = math.ceil(channels / PACKED_CHANNELS) * PACKED_CHANNELS
    return int(tensor.nbytes) // channels * packed
