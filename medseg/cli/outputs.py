"""The guard over a verb's single output file."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path


def guard_file(
    path: Path, verb: str, *, inputs: Iterable[Path] = (), overwrite: bool
) -> AbstractContextManager[object]:
    """Refuse at once, and until the block ends, to replace a file that is not the verb's own.

    Raises:
        BadOutput: an input stands there, or a file that is not medseg's to replace.
    """
    from medseg.writers.guard import guard_outputs

    names = [path.name]
    return guard_outputs(
        path.parent, verb, claims=names, patterns=names, inputs=inputs, overwrite=overwrite
    )
