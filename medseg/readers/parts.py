"""The files that make up one scan or mask, and a state of them that changes when they are replaced.

Size and time of change are not enough: archives unpacked over one another, `touch -d` and copies
with times kept give another file both. When the file system last touched an entry is a time that
no program sets. The inode is left out: network file systems give a file another one with every
mount.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from medseg.files import is_file, is_folder, is_there, open_file
from medseg.readers import image_endings

#: Name, bytes, time of change in ns, time of the file system's last touch in ns.
State = tuple[str, int, int, int]

_HEADER_BYTES = 1 << 16
#: Where a detached NRRD or MetaImage header names the file of its voxels.
_NAMED = re.compile(rb"^(?:data ?file|ElementDataFile)[ \t]*[:=][ \t]*([^\r\n]+)", re.M | re.I)


def state_of(path: Path) -> list[State]:
    """What changes when anything changes that a file or folder holds; empty where nothing is.

    Args:
        path: a file, with its other half where its voxels lie beside their header; or a folder,
            with everything in it.

    Raises:
        OSError: a file or folder cannot be looked at.
    """
    states = []
    for file in parts_of(path):
        status = file.stat() if file.exists() else file.lstat()  # a link that leads nowhere
        states.append((file.name, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return sorted(states)


def parts_of(path: Path) -> list[Path]:
    """The files that a path stands for, the file itself first.

    Raises:
        OSError: a folder cannot be looked at.
    """
    if is_folder(path):
        return list(_below(path))
    return [path, *other_halves(path)] if is_there(path) else []


def other_halves(path: Path) -> list[Path]:
    """The files beside a header that may hold its voxels, or beside voxels their headers."""
    names = set()
    for endings in image_endings():
        for voxels, headers in endings.voxels.items():
            names |= {_swapped(path.name, voxels, header) for header in headers}
            names |= {_swapped(path.name, header, voxels) for header in headers}
        if path.name.lower().endswith(endings.headers):
            names.add(_named_voxels(path))
    paths = (path.parent / name for name in sorted(names - {""}))
    return [other for other in paths if is_file(other)]


def _swapped(name: str, ending: str, other: str) -> str:
    """The name with another ending in the same case, where it has this one; else empty.

    >>> _swapped("CT.HDR", ".hdr", ".img"), _swapped("ct.nii", ".hdr", ".img")
    ('CT.IMG', '')
    """
    stem, own = name[: -len(ending)], name[-len(ending) :]
    if own.lower() != ending:
        return ""
    return stem + (other.upper() if own.isupper() else other)


def _named_voxels(path: Path) -> str:
    """The file that a detached header names, relative to it; empty where it names none."""
    try:
        with open_file(path) as file:
            named = _NAMED.search(file.read(_HEADER_BYTES))
    except OSError:
        return ""
    return os.fsdecode(named.group(1).strip()) if named else ""


def _below(root: Path) -> Iterator[Path]:
    """Every file in a folder; links are followed, each folder once."""
    seen: set[tuple[int, int]] = set()
    for folder, below, names in os.walk(root, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            below.clear()  # links that loop
            continue
        seen.add((status.st_dev, status.st_ino))
        yield from (Path(folder) / name for name in names)
