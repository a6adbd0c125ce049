"""What this machine offers a process and what the process holds: memory and cores."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
from pathlib import Path

import psutil

#: What a RuntimeError says where memory ran out; cuDNN finds no engine whose workspace fits.
_SIGNS = ("out of memory", "can't allocate memory", "_alloc_failed", "unable to find an engine")


def resident_bytes() -> int:
    """Memory that this process holds now."""
    return int(psutil.Process().memory_info().rss)


def peak_bytes() -> int:
    """The most memory that this process ever held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform == "darwin":
        return peak
    with contextlib.suppress(OSError, ValueError, IndexError):
        # ru_maxrss of a process that another one started counts what that one held
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("\nVmHWM:")[1].split()[0]) * 1024
    return peak * 1024


def available_bytes() -> int:
    """Memory that can still be had without swapping."""
    return int(psutil.virtual_memory().available)


def usable_cores() -> int:
    """Cores that this process may run on: a container or a job can have fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return psutil.cpu_count() or 1


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on a device or on the host.

    torch's errors are recognised by their names, so that nothing here loads torch.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in _SIGNS)


def give_back() -> None:
    """Have the C library return to the system what was freed, where it can."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc has it
