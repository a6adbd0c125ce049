"""Standard streams that never end the work: what nobody reads, or no disk holds, is lost."""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TextIO


def settle_streams() -> None:
    """Open what the caller closed, and let no log that cannot be written stop a verb.

    A closed standard stream would give its number to the next file that is opened, and whatever
    is printed would go there. Where the reader went away (``| head``) the work goes on, and the
    exit code says what came of it.
    """
    for number, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        if _is_closed(number):
            os.open(os.devnull, flags)  # the lowest free number: this one
    if sys.stdout is sys.__stdout__:  # else somebody reads what is said in this process
        sys.stdout = _patient(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _patient(sys.stderr, 2)


def _is_closed(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return True
    return False


def _patient(stream: TextIO | None, number: int) -> TextIO:
    """The stream; what cannot be written is lost, and names of files may be no text."""
    encoding = "utf-8" if stream is None else stream.encoding
    writer = io.BufferedWriter(_Lossy(number))
    return io.TextIOWrapper(
        writer, encoding=encoding, errors="backslashreplace", line_buffering=True
    )


class _Lossy(io.RawIOBase):
    """Writes to a descriptor; bytes that a disk, pipe or closed terminal refuses are lost."""

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        return self._number

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, data: object) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        while True:
            try:
                return os.write(self._number, view)
            except BlockingIOError:  # a pipe that somebody set not to wait, and is full
                select.select([], [self._number], [])
            except OSError:
                return view.nbytes
