"""How a file appears whole or not at all: written beside its place, flushed, then renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medseg.errors import BadOutput


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that becomes `path` when the block ends well.

    Folders on the way are made. The temporary name keeps the ending, by which some libraries
    choose the format, and starts with a dot, so that no search for results finds it. When the
    block raises, the temporary file is removed and what stood at `path` stays.

    Raises:
        BadOutput: the folder cannot be written, the disk is full, or a folder stands there.
    """
    temporary = path.with_name(f".part-{secrets.token_hex(8)}{_ending(path)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise BadOutput(
                "a folder stands where the file should go",
                path=path,
                remedy="Choose another name or remove the folder.",
            )
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        raise BadOutput(
            "the file cannot be written",
            path=path,
            found=error.strerror or error,
            remedy="Check free space and permissions, or choose another folder.",
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


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
