"""Temporary folders that a killed process does not leave for good: the next one removes them.

A folder is held by a lock that ends with its process, however that ends. What nobody holds any
more may hold voxels of patients, and goes when the next folder is made.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: What the names begin with.
PREFIX = "medseg-scratch-"

#: A younger folder may be one that is not yet locked.
_YOUNG_S = 60.0


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder of this process in the system's temporary folder, gone again afterwards.

    Raises:
        OSError: it cannot be made.
    """
    _remove_orphans(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
        descriptor = os.open(name, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # where folders cannot be locked none is swept
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            yield Path(name)
        finally:
            os.close(descriptor)


def _remove_orphans(place: Path) -> None:
    """Remove this user's folders whose processes are gone."""
    for folder in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            status = folder.lstat()
            is_old = time.time() - status.st_mtime > _YOUNG_S
            if is_old and status.st_uid == os.getuid() and not folder.is_symlink():
                _remove_unless_held(folder)


def _remove_unless_held(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)
