"""Opens files that a user names: a pipe or device is never waited for, and every read has a limit.

A question about a path has an answer whatever its name: one that is too long, that leads in
circles, or whose folder may not be entered belongs to nothing that can be used.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

#: Longer texts are no card, table or record: a table of two million scans has 700 MB.
MOST_TEXT_BYTES = 1_000_000_000

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_file(path: str | Path) -> io.BufferedReader:
    """A regular file, open for reading; links are followed.

    Raises:
        OSError: there is none, it may not be read, or it is a folder, a pipe, a socket or a
            device, which might be waited for without end.

    >>> open_file("/dev/zero")
    Traceback (most recent call last):
    OSError: [Errno 22] a device, not a file: '/dev/zero'
    """
    mode = os.stat(path).st_mode  # noqa: PTH116 - before it is opened: that wakes a device
    _require_regular(mode, path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _require_regular(os.fstat(descriptor).st_mode, path)  # it may be another one by now
        return open(descriptor, "rb")  # noqa: PTH123
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: str | Path, *, most: int = MOST_TEXT_BYTES) -> bytes:
    """The content of a regular file.

    Args:
        path: the file.
        most: bytes; a longer file is refused before any of it is read.

    Raises:
        OSError: as `open_file`, or the file is longer.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            problem = f"{size} bytes are more than such a file can have (most: {most})"
            raise OSError(errno.EFBIG, problem, str(path))
        return file.read(most)


def read_text(path: str | Path, *, most: int = MOST_TEXT_BYTES) -> str:
    """The text of a regular file in UTF-8, with or without a byte-order mark.

    Raises:
        OSError: as `read_bytes`.
        ValueError: it is not UTF-8.
    """
    return read_bytes(path, most=most).decode("utf-8-sig")


def is_there(path: Path) -> bool:
    """Whether a path leads to something that this user may look at.

    >>> is_there(Path("x" * 300)), is_there(Path("/dev/null"))
    (False, True)
    """
    try:
        return path.exists()
    except (OSError, ValueError):  # no permission, a name that is too long
        return False


def is_file(path: Path) -> bool:
    """Whether a regular file can be seen there.

    >>> is_file(Path("x" * 300)), is_file(Path("/dev/null"))
    (False, False)
    """
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether a folder can be seen there.

    >>> is_folder(Path("x" * 300)), is_folder(Path("/"))
    (False, True)
    """
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _require_regular(mode: int, path: str | Path) -> None:
    if stat.S_ISREG(mode):
        return
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
    raise OSError(errno.EINVAL, f"{kind}, not a file", str(path))
