"""A batch of windows becomes logits, whatever memory and precision the device has."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch import nn

from medseg.errors import BadModel, MedsegError
from medseg.inference.clock import NetworkClock
from medseg.memory import is_out_of_memory

Precision = Literal["auto", "float32", "float64", "bfloat16", "float16"]

_DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

_CPU = torch.device("cpu")

#: The first so many algorithms by cuDNN's own ranking are timed for each convolution; all of them
#: would take longer than one scan.
TRIED_ALGORITHMS = 4


def choose_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """The number type of convolutions.

    ``auto`` is float16 on a GPU (as fast as bfloat16, eight times as fine, and known to older
    cards; what overflows is done again in bfloat16), bfloat16 on a CPU that multiplies it in
    hardware, else float32.
    """
    if precision != "auto":
        return _DTYPES[precision]
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if cpu_multiplies_bfloat16() else torch.float32


def cpu_multiplies_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware (AVX-512 BF16 or AMX)."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


@contextlib.contextmanager
def calculating(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """How networks calculate inside: mixed precision for the 16-bit types, else as they are.

    On a GPU, float32 is float32 (no TF32) with algorithms that cuDNN chooses by rule, so that a
    mask is the same each time; in 16 bits cuDNN times `TRIED_ALGORITHMS` of each convolution and
    takes the fastest.
    """
    mixed = dtype not in (torch.float32, torch.float64)
    with contextlib.ExitStack() as stack:
        if device.type == "cuda":
            stack.enter_context(
                torch.backends.cudnn.flags(
                    enabled=True,
                    benchmark=mixed,
                    benchmark_limit=TRIED_ALGORITHMS,
                    allow_tf32=False,
                )
            )
        if mixed:
            stack.enter_context(torch.autocast(device.type, dtype=dtype))
        yield


class Forward:
    """Runs networks over windows; where memory runs out it retreats step by step.

    First the batch halves, then `relieve` makes room on the device, then the CPU takes over.

    Attributes:
        device: where the networks are now.
        dtype: in which they calculate now.
        batch: windows at a time now.
        clock: adds up how long they run.
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
        self.clock = NetworkClock()
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
            logits = self._try(member, _filled(part, self.device))
            if logits is None:
                self._retreat()
            elif not bool(torch.isfinite(logits.sum(dtype=torch.float32))):
                self._use_full_precision()
            else:
                yield start, logits[: len(part)]
                start += len(part)

    def _try(self, member: int, windows: torch.Tensor) -> torch.Tensor | None:
        """Logits, or ``None`` where memory ran out."""
        try:
            images = _sent(windows, self.device)
            with (
                torch.inference_mode(),
                calculating(self.device, self.dtype),
                self.clock.running(self.device),
            ):
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
                "the network's answer is not finite",
                found="NaN or infinity in its logits",
                remedy="Check the scan for NaN, and the training run for non-finite steps.",
            )
        wider = torch.float32
        if self.dtype == torch.float16 and self.device.type == "cuda":
            wider = torch.bfloat16 if torch.cuda.is_bf16_supported() else wider
        self._warn(f"{self.dtype} overflowed: {wider} from here on".replace("torch.", ""))
        self.dtype = wider


def _filled(windows: torch.Tensor, device: torch.device) -> torch.Tensor:
    """On a GPU a power of two of windows, the last one repeated: algorithms go by shape."""
    wanted = 1 << (len(windows) - 1).bit_length()
    if device.type != "cuda" or wanted == len(windows):
        return windows
    return torch.cat([windows, windows[-1:].expand(wanted - len(windows), *windows.shape[1:])])


def _sent(windows: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Windows on the device; on their way to a GPU the host does not wait for them."""
    if device.type == "cuda" and windows.device.type == "cpu":
        windows = windows.pin_memory()  # only a copy from page-locked memory is asynchronous
    return windows.to(device, non_blocking=True)


def _free(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
