"""The precision of a run's products: Lightning's word for it, torch's type, and TF32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from medseg.inference.forward import cpu_multiplies_bfloat16

_DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def lightning_precision(precision: str, device: torch.device) -> Any:
    """Lightning's word for a precision; ``auto``: bfloat16 where the processor multiplies it."""
    if precision == "auto" and device.type == "cuda":
        precision = "bfloat16" if _gpu_multiplies_bfloat16(device) else "float16"
    elif precision == "auto":
        precision = "bfloat16" if cpu_multiplies_bfloat16() else "float32"
    return {"bfloat16": "bf16-mixed", "float16": "16-mixed"}.get(precision, "32-true")


def dtype_of(precision: str, device: torch.device) -> torch.dtype:
    """Type of the factors; float32 means no autocast.

    >>> dtype_of("bfloat16", torch.device("cpu")), dtype_of("tf32", torch.device("cpu"))
    (torch.bfloat16, torch.float32)
    """
    return _DTYPES.get(lightning_precision(precision, device), torch.float32)


@contextmanager
def tf32(*, allowed: bool) -> Iterator[None]:
    """Whether a GPU may round the factors of float32 products to 19 bits."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def _gpu_multiplies_bfloat16(device: torch.device) -> bool:
    """Tensor cores for it came with compute capability 8."""
    return torch.version.hip is not None or torch.cuda.get_device_capability(device)[0] >= 8
