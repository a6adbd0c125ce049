"""Running a verb inside this process, as a script would on the command line."""

from __future__ import annotations

from typing import Any


def run_words(command: Any, words: tuple[object, ...]) -> int:
    """Run a command line of words.

    Args:
        command: the Typer application or the Click command at its root.
        words: what stands behind ``medseg``.

    Returns:
        The exit code: 0 done, 1 some cases were refused, 2 the call is wrong.
    """
    start = getattr(command, "main", command)
    try:
        start([str(word) for word in words], prog_name="medseg")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
