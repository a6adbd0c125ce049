"""How does a batch of windows become logits, whatever memory and precision the device has?"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch import nn

from medseg.errors import BadModel, MedsegError

Precision = Literal["auto", "float32", "float64", "bfloat16", "float16"]

_DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

_CPU = torch.device("cpu")


def choose_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """The number type of convolutions.

    ``auto`` is float16 on a GPU, bfloat16 on a CPU that multiplies it in hardware, else float32.
    """
    if precision != "auto":
        return _DTYPES[precision]
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if cpu_multiplies_bfloat16() else torch.float32


def cpu_multiplies_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware (AVX-512 BF16 or AMX)."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on a device or on the host."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        sign in said for sign in ("out of memory", "can't allocate memory", "_alloc_failed")
    )


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[object]:
    """Mixed precision for the 16-bit types; full precision needs none."""
    if dtype in (torch.float32, torch.float64):
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


class Forward:
    """Runs networks over windows; where memory runs out it retreats step by step.

    First the batch halves, then `relieve` makes room on the device, then the CPU takes over.

    Attributes:
        device: where the networks are now.
        dtype: in which they calculate now.
        batch: windows at a time now.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        *,
        device: torch.device,
        dtype: torch.dtype,
        batch: int,
        relieve: Callable[[], bool],
        warn: Callable[[str], None],
    ) -> None:
        """Put the networks on the device.

        Args:
            networks: (B, C, *spatial) to (B, K, *spatial).
            device: where to begin.
            dtype: float64 converts the networks; the 16-bit types are mixed precision.
            batch: windows at a time, at most.
            relieve: frees memory on the device; ``False`` where there is nothing to free.
            warn: told of every retreat.
        """
        self.device, self.dtype, self.batch = device, dtype, batch
        self._networks = list(networks)
        self._relieve, self._warn = relieve, warn

    def __len__(self) -> int:
        return len(self._networks)

    def run(self, member: int, windows: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """Logits of one network, in portions: (first window, (b, K, *spatial)).

        Args:
            member: which network.
            windows: (B, C, *spatial), anywhere.

        Raises:
            BadModel: the logits are not finite even in float32.
            MedsegError: one window at a time does not fit into the host's memory.
        """
        start = 0
        while start < len(windows):
            part = windows[start : start + self.batch]
            logits = self._try(member, part)
            if logits is None:
                self._retreat()
            elif not bool(torch.isfinite(logits.sum(dtype=torch.float32))):
                self._use_full_precision()
            else:
                yield start, logits
                start += len(part)

    def _try(self, member: int, windows: torch.Tensor) -> torch.Tensor | None:
        """Logits, or ``None`` where memory ran out."""
        try:
            images = _sent(windows, self.device)
            with torch.inference_mode(), autocast(self.device, self.dtype):
                logits: torch.Tensor = self._networks[member](images)
            return logits
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        return None

    def _retreat(self) -> None:
        _free(self.device)
        if self.batch > 1:
            self.batch //= 2
            self._warn(f"memory ran out: {self.batch} windows at a time from here on")
        elif self._relieve():
            self._warn("device memory ran out: logits are kept on the host from here on")
        elif self.device != _CPU:
            self._networks = [network.cpu() for network in self._networks]
            _free(self.device)
            self.device = _CPU
            if self.dtype != torch.float64:
                self.dtype = torch.float32
            self._warn("device memory ran out: the CPU goes on")
        else:
            raise MedsegError(
                "not enough memory for one window at a time",
                remedy="Close other programs, or use a model with a smaller window.",
            )

    def _use_full_precision(self) -> None:
        if self.dtype in (torch.float32, torch.float64):
            raise BadModel(
                "the network's answer is not finite", found="NaN or infinity in its logits",
                remedy="Check the scan for NaN, and the training run for non-finite steps.",
            )  # fmt: skip
        self._warn(f"{self.dtype} overflowed: float32 from here on".replace("torch.", ""))
        self.dtype = torch.float32


def _sent(windows: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Windows on the device; on their way to a GPU the host does not wait for them."""
    if device.type == "cuda" and windows.device.type == "cpu":
        windows = windows.pin_memory()  # only a copy from page-locked memory is asynchronous
    return windows.to(device, non_blocking=True)


def _free(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
