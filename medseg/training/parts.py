"""Divides a batch into parts that go through the network one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from medseg.transforms.augment import Patches


def split(batch: Patches, parts: int) -> list[Patches]:
    """The patches of a batch in so many parts, or one each where there are fewer."""
    sizes = [len(rows) for rows in np.array_split(np.arange(len(batch.index)), parts) if len(rows)]
    columns: dict[str, Any] = {
        name: [None] * len(sizes) if value is None else value.split(sizes)
        for name, value in vars(batch).items()
    }
    return [
        Patches(**{name: column[n] for name, column in columns.items()}) for n in range(len(sizes))
    ]
