"""Cuts batches by threads ahead of time, so that a GPU need not wait for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from torch.utils.data import IterableDataset

from medseg.memory import usable_cores
from medseg.training.patches import PatchStream
from medseg.transforms.augment import Patches

#: Threads at most; each has a batch in work and one in store.
_MOST_THREADS = 8


class ReadAhead(IterableDataset[Patches]):
    """The batches of a stream in their order, in page-locked memory.

    While a GPU holds the cases, batches are cut there and nothing is read; from the step on in
    which the cases leave it, threads read.

    Args:
        stream: what is read; from its first step on.
    """

    def __init__(self, stream: PatchStream) -> None:
        super().__init__()
        self.stream = stream

    def __iter__(self) -> Iterator[Patches]:
        step = self.stream.first_step
        while self.stream.pool is not None:
            yield self.stream.batch_of(step)
            step += 1
        yield from self._read_from(step)

    def _read_from(self, step: int) -> Iterator[Patches]:
        threads = max(1, min(_MOST_THREADS, usable_cores() - 1))
        pool = ThreadPoolExecutor(threads, "patches")
        try:
            coming = deque(pool.submit(self._batch_of, step + n) for n in range(2 * threads))
            step += len(coming)
            while True:
                yield coming.popleft().result()
                coming.append(pool.submit(self._batch_of, step))
                step += 1
        finally:
            # whatever ends a run, a read from a slow disk does not hold it up
            pool.shutdown(wait=False, cancel_futures=True)

    def _batch_of(self, step: int) -> Patches:
        return self.stream.batch_of(step).pin_memory()
