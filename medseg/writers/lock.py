"""One process at a time writes to an output folder; a lock names its host and process id."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import Self

from medseg.errors import BadOutput

#: The lock of a batch of masks, and that of a training run.
LEDGER_LOCK = "ledger.lock"
RUN_LOCK = "run.lock"


class FolderLock:
    """Holds a folder for this process; a context manager.

    The file names host and process id for people and for other machines; on one machine the
    kernel's own lock on it decides, which ends with its process however that dies. A lock left
    by a dead process of this host is taken over; one of another host is refused, since whether
    that process lives cannot be known from here.

    Args:
        folder: exists.
        name: of the lock file.
        break_lock: take over the lock of another host. One that a living process of this host
            holds is refused all the same.

    Raises:
        BadOutput: another process holds the folder, or it cannot be written.
    """

    def __init__(self, folder: Path, name: str = LEDGER_LOCK, *, break_lock: bool = False) -> None:
        self._path = folder / name
        self._break_lock = break_lock
        self._descriptor: int | None = None

    @property
    def descriptor(self) -> int:
        """File descriptor of the lock; a process that inherits it holds the folder, too."""
        if self._descriptor is None:
            raise RuntimeError("the lock is not held")
        return self._descriptor

    def __enter__(self) -> Self:
        while self._descriptor is None:
            self._descriptor = self._acquire()
        owner = f"{socket.gethostname()} {os.getpid()}\n".encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, owner, 0)
        return self

    def __exit__(self, *error: object) -> None:
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def _acquire(self) -> int | None:
        """The locked file, or ``None`` where it was replaced in between: try again."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise BadOutput(
                "the output folder cannot be written",
                path=self._path.parent,
                found=error.strerror,
                remedy="Check free space and permissions, or choose another --output.",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            current = self._path.stat().st_ino if self._path.exists() else None
            if current != os.fstat(descriptor).st_ino:
                os.close(descriptor)
                return None
            host = _owner(descriptor)[0]
            if host not in ("", socket.gethostname()) and not self._break_lock:
                raise self._refusal(
                    descriptor, "Wait for it; if it is no longer running, add --break-lock."
                )
        except BlockingIOError:
            refusal = self._refusal(descriptor, "Wait for it, or end it.")
            os.close(descriptor)
            raise refusal from None
        except BadOutput:
            os.close(descriptor)
            raise
        return descriptor

    def _refusal(self, descriptor: int, remedy: str) -> BadOutput:
        host, process = _owner(descriptor)
        return BadOutput(
            "another run is writing to this folder",
            path=self._path.parent,
            found=f"process {process or '?'} on {host or 'this host'}",
            expected="one run at a time",
            remedy=remedy,
        )


def holder(folder: Path) -> str | None:
    """``process 12 on host`` where a live run holds the folder, as far as can be known."""
    try:
        descriptor = os.open(folder / LEDGER_LOCK, os.O_RDONLY)
    except OSError:
        return None
    try:
        host, process = _owner(descriptor)
        if not host:
            return None
        if host == socket.gethostname():
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)
    return f"process {process} on {host}"


def _owner(descriptor: int) -> tuple[str, str]:
    words = os.pread(descriptor, 1000, 0).decode(errors="replace").split()
    return (words[0], words[1]) if len(words) == 2 else ("", "")
