"""Opened cases, the last ones kept while memory allows, so that going back and forth is quick."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from medseg.review.opened import Opened

#: Cases kept at most, and bytes of them; the one that is looked at is always kept.
MOST_CASES, MOST_BYTES = 6, 1_500_000_000


class Shelf:
    """Opens cases when first asked for; each is opened once, whoever asks meanwhile waits."""

    def __init__(self, open_one: Callable[[str], Opened]) -> None:
        self._open_one = open_one
        self._held: OrderedDict[str, Opened] = OrderedDict()
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def take(self, case: str) -> Opened:
        """The opened case.

        Raises:
            MedsegError: it cannot be read.
        """
        with self._guard:
            lock = self._locks.setdefault(case, threading.Lock())
        with lock:
            with self._guard:
                if case in self._held:
                    self._held.move_to_end(case)
                    return self._held[case]
            opened = self._open_one(case)
            with self._guard:
                self._held[case] = opened
                self._make_room()
            return opened

    def held(self, case: str) -> Opened | None:
        """The case where it is open already."""
        with self._guard:
            return self._held.get(case)

    def drop(self, case: str) -> None:
        """Forget a case; it is opened again when asked for."""
        with self._guard:
            self._held.pop(case, None)

    def _make_room(self) -> None:
        while len(self._held) > 1 and (
            len(self._held) > MOST_CASES or sum(c.bytes for c in self._held.values()) > MOST_BYTES
        ):
            self._held.popitem(last=False)
