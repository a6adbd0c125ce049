"""What a long task calls to say how far it is; callers pass a bar, a line or nothing."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Is called as a task goes on."""

    def __call__(self, done: int, total: int | None = None, **facts: object) -> None:
        """`done` of `total` (``None``: not known yet), and facts worth showing."""


def silent(done: int, total: int | None = None, **facts: object) -> None:
    """Shows nothing."""
