"""Notes when a network is run, in any process of a command, ours or another's.

A folder on ``PYTHONPATH`` makes Python import this file at its start. Where ``RIVAL_CLOCK`` names
a folder, every call of a whole network (a module of one of ``NETWORKS``) is written there as
``[begin, end, windows, measuring]``, in seconds of the machine's monotonic clock, one file a
process; ``measuring`` marks a pass under a dispatch mode, which looks at the network and segments
nothing. Torch is not imported by this: it is met when the command imports it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections import deque
from multiprocessing.util import Finalize
from pathlib import Path

NETWORKS = frozenset({"UNet", "PlainConvUNet", "Converted"})
MET_AT = "torch.nn.modules.module"


class Meeting:
    """Finds the module in which torch defines networks, once."""

    def find_spec(self, name, path=None, target=None):
        if name != MET_AT:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def execute_and_watch(module) -> None:
            execute(module)
            watch(module.Module)

        spec.loader.exec_module = execute_and_watch
        return spec


def watch(kind) -> None:
    """Time the calls of whole networks."""
    call = kind.__call__
    folder = Path(os.environ["RIVAL_CLOCK"])

    def timed(self, *args, **kwargs):
        if type(self).__name__ not in NETWORKS:
            return call(self, *args, **kwargs)
        from torch.utils._python_dispatch import _get_current_dispatch_mode

        measuring = _get_current_dispatch_mode() is not None
        windows = int(args[0].shape[0])
        if args[0].device.type == "cuda":
            return on_device(folder, windows, lambda: call(self, *args, **kwargs))
        begin = time.monotonic()
        answer = call(self, *args, **kwargs)
        write(folder, [begin, time.monotonic(), windows, measuring])
        return answer

    kind.__call__ = timed


_waiting = deque()
_zero = []


def on_device(folder, windows, call):
    """Time a call by events in its stream; nothing waits for them before the process ends."""
    import torch

    if torch.cuda.is_current_stream_capturing():
        return call()
    if not _zero:
        torch.cuda.synchronize()
        _zero.extend((time.monotonic(), _recorded_event()))
        # unlike atexit, this runs in children of multiprocessing too
        Finalize(None, write_device, args=(folder, True), exitpriority=100)
    begin = _recorded_event()
    answer = call()
    _waiting.append((begin, _recorded_event(), windows))
    if len(_waiting) % 16 == 0:
        write_device(folder, False)
    return answer


def _recorded_event():
    import torch

    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def write_device(folder, is_last) -> None:
    """The calls that the device is through with, on the clock of the machine."""
    import torch

    if is_last:
        torch.cuda.synchronize()
    while _waiting and _waiting[0][1].query():
        begin, end, windows = _waiting.popleft()
        times = [_zero[0] + _zero[1].elapsed_time(event) / 1000 for event in (begin, end)]
        write(folder, [*times, windows, False])
    write(folder, {"device_mb": torch.cuda.max_memory_reserved() / 1e6})


def write(folder, line) -> None:
    """One line of this process."""
    with (folder / f"{os.getpid()}.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


if os.environ.get("RIVAL_CLOCK"):
    sys.meta_path.insert(0, Meeting())
