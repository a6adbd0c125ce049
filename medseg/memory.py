"""How much memory does this process hold, and how does it give back what it has freed?"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
from pathlib import Path


def resident_bytes() -> int:
    """Memory that this process holds now; where the system does not tell, the most it held."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_bytes() -> int:
    """The most that this process ever held; 0 where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("\nVmHWM:")[1].split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        return 0


def give_back() -> None:
    """Have the C library return to the system what was freed, where it can."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)  # glibc has it
