"""The device that ``--device`` names: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""

from __future__ import annotations

import ctypes
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.errors import BadConfig

if TYPE_CHECKING:
    import torch

#: What drivers leave where they run: NVIDIA's (Jetson too), AMD's, and Windows' own.
_DRIVERS = (
    "/proc/driver/nvidia/version",
    "/dev/nvidiactl",
    "/dev/nvidia0",
    "/dev/nvhost-ctrl",
    "/dev/nvmap",
    "/dev/kfd",
    "/dev/dxg",
)


def pick_device(text: str) -> torch.device:
    """The device that ``--device`` names; ``auto`` takes the first GPU, else the CPU.

    Raises:
        BadConfig: the text names no device of this machine.
    """
    import torch

    return torch.device(device_name(text))


def device_name(text: str) -> str:
    """The same by name, without loading torch where no driver of a GPU is there.

    Raises:
        BadConfig: the text names no device of this machine.
    """
    if text == "cpu" or (text == "auto" and not _may_have_gpu()):
        return "cpu"
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if text == "auto":
        return "cuda:0" if gpus else "cpu"
    offered = ["auto", "cpu", *(f"cuda:{n}" for n in range(gpus))]
    name = "cuda:0" if text == "cuda" else text
    if name not in offered:
        raise BadConfig(
            "no such device",
            found=repr(text),
            expected=", ".join(offered),
            remedy="`medseg doctor` says what this machine offers.",
        )
    return name


def worker_device(text: str) -> str:
    """The device for a process of its own, which decides what ``auto`` is; torch stays unloaded.

    Only where no driver answers for the GPU that is named is torch asked, for what it says.

    Raises:
        BadConfig: the text names no device of this machine.
    """
    if text == "auto":
        return "auto" if _may_have_gpu() else "cpu"
    name = "cuda:0" if text == "cuda" else text
    if name in {f"cuda:{n}" for n in range(_visible_gpus())}:
        return name
    return device_name(text)


def _visible_gpus() -> int:
    """GPUs that NVIDIA's driver shows this process, where torch can use them; else 0."""
    torch = find_spec("torch")
    if torch is None or torch.origin is None:
        return 0
    if not (Path(torch.origin).parent / "lib" / "libtorch_cuda.so").exists():
        return 0
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def _may_have_gpu() -> bool:
    """Whether a driver of a GPU is there; always where this is not Linux."""
    return not sys.platform.startswith("linux") or any(Path(driver).exists() for driver in _DRIVERS)
