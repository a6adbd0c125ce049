"""Calls a C++ library in a child process, so that its crash costs one file and not the program."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TypeVar

from medseg.errors import BadScan, MedsegError

_T = TypeVar("_T")

#: Longer than this no file of such a format takes; a library may also hang.
_SECONDS = 300


def in_child(path: Path, call: Callable[[Path], _T]) -> _T:
    """What a call makes of a file; a process that is the worker of a batch makes it itself.

    Args:
        path: the file.
        call: raises refusals only.

    Raises:
        BadScan: the library crashed or hung.
        MedsegError: what the call raised.
    """
    if multiprocessing.current_process().daemon:
        return call(path)
    context = multiprocessing.get_context("fork")  # at once, with what is loaded
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(theirs, call, path), daemon=True)
    child.start()
    theirs.close()
    try:
        is_there = wait([ours, child.sentinel], _SECONDS)
        answer = ours.recv() if ours.poll() else None
    except EOFError:
        answer = None
    finally:
        child.kill()
        child.join()
        ours.close()
    if answer is None:
        raise BadScan(
            "the library that reads this format " + ("crashed" if is_there else "hung") + " on it",
            path=path,
            remedy="The file is damaged; export it again.",
        )
    result, error = answer
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def _answer(connection: Connection, call: Callable[[Path], object], path: Path) -> None:
    """Run in the child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    try:
        connection.send((call(path), None))
    except MedsegError as error:
        connection.send((None, error))
