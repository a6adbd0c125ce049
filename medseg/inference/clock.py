"""How long networks run, without making a GPU wait to be asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class NetworkClock:
    """Adds up the time of forward passes; on a GPU its own time, read once at the end."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def running(self, device: torch.device) -> Iterator[None]:
        """A forward pass on a device."""
        if device.type == "cuda":
            before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            stream = torch.cuda.current_stream(device)
            before.record(stream)
            try:
                yield
            finally:
                after.record(stream)
                self._events.append((before, after))
            return
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds += time.perf_counter() - began

    def seconds(self) -> float:
        """So far; waits for what a GPU has not finished."""
        for before, after in self._events:
            after.synchronize()
            self._seconds += before.elapsed_time(after) / 1000
        self._events = []
        return self._seconds
