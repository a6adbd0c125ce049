"""Exit codes, and how foreseen errors and interruptions end a verb."""

from __future__ import annotations

import errno
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from medseg.errors import BadConfig, MedsegError
from medseg.tables import printable

DONE, SOME_FAILED, WRONG_CALL, INTERRUPTED = 0, 1, 2, 130

#: What the system refuses, whichever file it is about: not a bug, and nothing that we can fix.
_SYSTEM = frozenset(
    (
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        *(errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ENXIO),
        *(errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE),
    )
)

_RESUME = "Every file written is complete; run the same command again to resume."


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with a line that says how to resume."""


@contextmanager
def foreseen_exits() -> Iterator[None]:
    """Turn what we foresee into a line on standard error and an exit code."""
    try:
        with _terminated_as_interrupted():
            yield
    except MedsegError as error:
        _say(f"error: {error}")
        raise typer.Exit(exit_code(error)) from None
    except OSError as error:
        if error.errno not in _SYSTEM or error.filename is None:
            raise
        name = printable(str(error.filename))
        _say(f"error: {MedsegError('the system refuses it', path=name, found=error.strerror)}")
        raise typer.Exit(SOME_FAILED) from None
    except KeyboardInterrupt as error:
        _say(f"interrupted. {error if isinstance(error, Interrupted) else _RESUME}")
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM, by which clusters and containers end a process, does what Ctrl-C does.

    So does SIGHUP, when a terminal or connection is closed, unless ``nohup`` has it ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, signal.default_int_handler)
    }
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, _as_terminated)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _as_terminated(number: int, frame: object) -> None:
    """What the verb under way does for SIGTERM, such as keeping the state of a training."""
    del number, frame
    signal.raise_signal(signal.SIGTERM)


def exit_code(error: MedsegError) -> int:
    """2 where the call itself is wrong, 1 where a file is."""
    return WRONG_CALL if isinstance(error, BadConfig) else SOME_FAILED


def _say(text: str) -> None:
    typer.echo(f"medseg: {text}", err=True)
