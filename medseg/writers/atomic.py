"""A file appears whole or not at all: it is written beside its place, flushed and renamed."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from medseg.errors import BadOutput
from medseg.writers.guard import OutputGuard, guard_over

#: What a half-written file is called.
_PART = re.compile(r"\.part-[0-9a-f]{16}(\.\w+)*")

#: Folders that this process has swept already.
_swept: set[Path] = set()


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that becomes `path` when the block ends well.

    Folders on the way are made. The temporary name keeps the ending, by which some libraries
    choose the format, and starts with a dot, so that no search for results finds it. When the
    block raises, the temporary file is removed and what stood at `path` stays. What a process
    that was killed left half-written is removed by the next one that writes to the folder. Where
    the running verb has a guard over its output (:mod:`medseg.writers.guard`), the file passes it.

    Raises:
        BadOutput: the folder cannot be written, the disk is full, a folder stands there, or a
            file that is not medseg's to replace.
    """
    guard = _cleared(path)
    temporary, descriptor = None, None
    try:
        with _refusals(path):
            _prepare(path)
            temporary, descriptor = _claim(path)
            yield temporary
            _flush(temporary)
            _replace(temporary, path, guard)
            _flush_folder(path.parent)
    finally:
        if temporary is not None and descriptor is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            os.close(descriptor)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """An open file that appears at `path` when the block ends well.

    As :func:`atomic_path`, for writers that need no name. Where the file system can, the file
    has none until it is whole: a process killed meanwhile leaves nothing behind.

    Raises:
        BadOutput: the folder cannot be written, the disk is full, or a folder stands there.
    """
    guard = _cleared(path)
    nameless = None
    with _refusals(path):
        _prepare(path)
        with suppress(OSError, AttributeError):  # not on every system and file system
            nameless = os.open(path.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666)
        if nameless is not None:
            with os.fdopen(nameless, "w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                _name(file.fileno(), path, guard)
            return
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield file


def sweep(folder: Path) -> None:
    """Remove half-written files of processes that are gone.

    A live writer holds a lock on its file, which ends with it however it dies; where the file
    system has no locks, or they cannot be asked, the file stays.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        parts = [
            entry.path
            for entry in entries
            if _PART.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
        ]
        for part in parts:
            with suppress(OSError):
                _remove_abandoned(part)


def _cleared(path: Path) -> OutputGuard | None:
    """The guard that watches a path and lets it be written."""
    guard = guard_over(path)
    if guard is not None:
        guard.clear(path)
    return guard


def _replace(temporary: Path, path: Path, guard: OutputGuard | None) -> None:
    if guard is not None:
        guard.remember(path, temporary)
    temporary.replace(path)


def _prepare(path: Path) -> None:
    """Make the folder; once a process, remove what dead ones left in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise BadOutput(
            "a folder stands where the file should go",
            path=path,
            remedy="Choose another name or remove the folder.",
        )
    folder = path.parent.absolute()
    if folder not in _swept:
        _swept.add(folder)
        sweep(folder)


def _claim(path: Path) -> tuple[Path, int]:
    """A new temporary file beside `path`, and a descriptor that holds its lock."""
    while True:
        temporary = path.with_name(f".part-{secrets.token_hex(8)}{_ending(path)}")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        if _locked(descriptor) and os.fstat(descriptor).st_nlink:
            return temporary, descriptor
        os.close(descriptor)  # another process sweeps it away, or has


def _locked(descriptor: int) -> bool:
    """Whether no sweep of another process holds the file; a file system may have no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _remove_abandoned(part: str) -> None:
    descriptor = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        Path(part).unlink()
    finally:
        os.close(descriptor)


def _name(descriptor: int, path: Path, guard: OutputGuard | None) -> None:
    """Let a nameless file appear, in place of what may stand there."""
    temporary = path.with_name(f".part-{secrets.token_hex(8)}{_ending(path)}")
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        _locked(descriptor)  # before it has a name that a sweep could find
        # a folder's descriptor makes Python follow the link that /proc has for the file
        os.link(f"/proc/self/fd/{descriptor}", temporary, src_dir_fd=folder)
        try:
            _replace(temporary, path, guard)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        with suppress(OSError):
            os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadOutput(
            "the file cannot be written",
            path=path,
            found=error.strerror or error,
            remedy="Check free space and permissions, or choose another folder.",
        ) from error


def require_ending(path: Path, *endings: str) -> None:
    """Refuse a file name that does not end as its format asks.

    Raises:
        BadOutput: the name ends otherwise.
    """
    if not path.name.lower().endswith(endings):
        raise BadOutput(
            "the file's name does not fit its format",
            path=path,
            found=path.suffix or "no ending",
            expected=" or ".join(endings),
        )


def _ending(path: Path) -> str:
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system lets folders be flushed."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
