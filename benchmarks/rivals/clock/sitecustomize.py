"""When was a network asked, in any process of a command, ours or another's?

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
        begin = time.monotonic()
        answer = call(self, *args, **kwargs)
        line = [begin, time.monotonic(), int(args[0].shape[0]), measuring]
        with (folder / f"{os.getpid()}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        return answer

    kind.__call__ = timed


if os.environ.get("RIVAL_CLOCK"):
    sys.meta_path.insert(0, Meeting())
