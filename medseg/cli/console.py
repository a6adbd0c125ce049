"""Everything a verb prints goes through its console: results, warnings and progress.

Results and progress go to standard output, warnings to standard error. A verb opens one console
and hands its parts down as callables::

    with open_console(quiet=quiet, json=json) as console:
        scans = discover(root, progress=console.progress("looking"))
        console.say(f"{len(scans)} scans", scans=len(scans))
"""

from __future__ import annotations

import json as json_format
import sys
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self

import typer

from medseg.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

#: Plain progress lines come no more often than this.
SECONDS_BETWEEN_LINES = 5.0


class Console(ABC):
    """One way of talking; a context manager, so that a bar is closed whatever happens."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @abstractmethod
    def say(self, text: str, **facts: object) -> None:
        """One line of result; `facts` are its machine-readable form."""

    def warn(self, text: str, **facts: object) -> None:
        """One line that the user should see, whatever the style, on standard error."""
        typer.echo(f"warning: {text}", err=True)

    @abstractmethod
    def progress(self, task: str) -> Progress:
        """A callback for one task, to be called as ``(done, total, **facts)``."""

    def close(self) -> None:  # noqa: B027
        """Finish what is still drawn; most styles draw nothing that stays open."""


def open_console(*, quiet: bool, json: bool) -> Console:
    """The console that fits the options and the place where the output goes."""
    if json:
        return JsonConsole()
    if quiet:
        return QuietConsole()
    return BarConsole() if sys.stdout.isatty() else LineConsole()


class QuietConsole(Console):
    """Says nothing but warnings."""

    def say(self, text: str, **facts: object) -> None:
        """Nothing."""

    def progress(self, task: str) -> Progress:
        """A callback that shows nothing."""
        return lambda done, total=None, **facts: None


class JsonConsole(Console):
    """One JSON object a line, each with an ``event``."""

    def say(self, text: str, **facts: object) -> None:
        """``{"event": "message", "text": …, facts…}``."""
        self._write({"event": "message", "text": text, **facts})

    def warn(self, text: str, **facts: object) -> None:
        """``{"event": "warning", "text": …, facts…}``."""
        self._write({"event": "warning", "text": text, **facts})

    def progress(self, task: str) -> Progress:
        """``{"event": "progress", "task": …, "done": …, "total": …, facts…}``."""

        def show(done: int, total: int | None = None, **facts: object) -> None:
            self._write({"event": "progress", "task": task, "done": done, "total": total, **facts})

        return show

    def _write(self, event: dict[str, object]) -> None:
        typer.echo(json_format.dumps(event, default=str, allow_nan=True))


class LineConsole(Console):
    """Plain lines, for logs and pipes: the first, the last, and one every few seconds."""

    def say(self, text: str, **facts: object) -> None:
        """The text."""
        typer.echo(text)

    def progress(self, task: str) -> Progress:
        """A callback that prints a line now and then."""
        first: tuple[float, int] | None = None  # a resumed task does not begin at 0
        before = 0
        last = -SECONDS_BETWEEN_LINES

        def show(done: int, total: int | None = None, **facts: object) -> None:
            nonlocal first, before, last
            now = time.monotonic()
            if first is None or done < before:  # the next of several in a row, as folds are
                first = now, done
            before = done
            if now - last < SECONDS_BETWEEN_LINES and (total is None or done < total):
                return
            last = now
            of = f"{done}/{total}" if total is not None else str(done)
            left = _time_left(now - first[0], done - first[1], total and total - first[1])
            typer.echo(" · ".join([f"{task} {of}", *left, *_phrases(facts)]))

        return show


class BarConsole(Console):
    """A bar for each task, on a terminal."""

    def __init__(self) -> None:
        self._bars: Bars | None = None

    def say(self, text: str, **facts: object) -> None:
        """The text, above the bars."""
        self._above(text)

    def warn(self, text: str, **facts: object) -> None:
        """The text, above the bars."""
        self._above(f"warning: {text}")

    def progress(self, task: str) -> Progress:
        """A callback that moves a bar."""
        bars = self._open()
        bar: TaskID = bars.add_task(task, total=None, facts="")
        before = 0

        def show(done: int, total: int | None = None, **facts: object) -> None:
            nonlocal before
            if done < before:
                bars.reset(bar)
            before = done
            bars.update(bar, completed=done, total=total, facts=" · ".join(_phrases(facts)))

        return show

    def close(self) -> None:
        """Leave the bars as they stand."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _above(self, text: str) -> None:
        if self._bars is None:
            typer.echo(text)
        else:
            self._bars.console.print(text, markup=False, highlight=False)

    def _open(self) -> Bars:
        if self._bars is None:
            from rich import progress

            self._bars = progress.Progress(
                progress.TextColumn("{task.description}", markup=False),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TimeElapsedColumn(),
                progress.TextColumn("left"),
                progress.TimeRemainingColumn(),
                progress.TextColumn("{task.fields[facts]}", markup=False),
            )
            self._bars.start()
        return self._bars


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _time_left(elapsed: float, done: int, total: int | None) -> list[str]:
    if not total or not 0 < done < total:
        return []
    return [f"{duration(elapsed / done * (total - done))} left"]


def _phrases(facts: dict[str, Any]) -> list[str]:
    return [
        f"{name.replace('_', ' ')} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in facts.items()
    ]
