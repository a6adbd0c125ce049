"""Where a file's bytes come from: a folder, or an archive that stays packed.

Archives are never unpacked to disk, so no name inside one can lead anywhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from medseg import tables
from medseg.archives.members import open_members
from medseg.errors import BadScan
from medseg.files import is_folder
from medseg.readers.own_files import own_files

#: How every refusal begins that is the system's, not the file's.
UNREADABLE = "cannot be read"


@dataclass(frozen=True, slots=True)
class Source:
    """One file, on disk or inside a zip or tar archive.

    Attributes:
        path: the file, or the archive that holds it.
        member: its name inside the archive, or empty.
        size: in bytes.
        changed_ns: when its (or its archive's) content last changed, as the file system says.
        name: what to call it in messages: relative to what the user named.
        inode: of the file or its archive.
        status_ns: when the file system last touched its entry, which no program can set back.
        number: of the member among those of its archive, where several can have one name.
    """

    path: str
    member: str = ""
    size: int = 0
    changed_ns: int = 0
    name: str = ""
    inode: int = 0
    status_ns: int = 0
    number: int = 0

    @property
    def folder(self) -> str:
        """The folder of `name`, empty at the top."""
        return self.name.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class SourceSequence:
    """Several files in an order that matters, such as the slices of a series.

    Attributes:
        sources: the files, each once.
    """

    sources: tuple[Source, ...]

    def __len__(self) -> int:
        return len(self.sources)

    def streams(self) -> Iterator[tuple[int, IO[bytes]]]:
        """The place of each file in the order, and its stream until the next is requested.

        Files of one archive come in the archive's order.

        Raises:
            BadScan: a file or archive cannot be read any more.
        """
        places = {source: place for place, source in enumerate(self.sources)}
        for source, stream in open_each(self.sources):
            yield places[source], stream


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file or folder that the system does not let us see."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Dropping:
    """A hidden file or folder, or one that other programs leave behind: no scan of the user's."""

    name: str


#: What archivers, network disks and operating systems leave beside people's files.
_DROPPINGS = frozenset(
    ("__macosx", "$recycle.bin", "system volume information", "lost+found", "#recycle", "~snapshot")
).union(("@eadir", "@recycle", "@recently-snapshot", "#snapshot", "desktop.ini", "thumbs.db"))


def is_dropping(name: str) -> bool:
    """Whether a file or folder of this name is hidden or another program's.

    >>> is_dropping("._scan.nii.gz"), is_dropping(".git"), is_dropping("scan.nii.gz")
    (True, True, False)
    """
    hidden = name.startswith((".", "~$")) and name.strip(".") != ""
    return hidden or name.lower() in _DROPPINGS


def printable(name: str) -> str:
    r"""A file's name as text that any table and terminal takes, other names staying different.

    Bytes that are no UTF-8 become escapes; so do characters that break lines.

    >>> printable("caf\udce9.nii.gz")
    'caf\\xe9.nii.gz'
    """
    if name.isascii() and name.isprintable():
        return name
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode()
        for c in tables.printable(name)
    )


def file_source(path: Path, name: str | None = None) -> Source:
    """One file on disk.

    Raises:
        BadScan: there is none, or it cannot be looked at.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        raise BadScan(
            "no such file or folder" if missing else UNREADABLE,
            path=printable(str(path)),
            found=None if missing else getattr(error, "strerror", str(error)),
            remedy="Check the path.",
        ) from None
    if not stat.S_ISREG(status.st_mode):
        raise BadScan(
            "not a file: a pipe, a socket or a device cannot be read as a scan",
            path=printable(str(path)),
            remedy="Save its content as a file first.",
        )
    return _on_disk(str(path), status, name or path.name)


def _on_disk(path: str, status: os.stat_result, name: str) -> Source:
    return Source(
        path,
        "",
        status.st_size,
        status.st_mtime_ns,
        printable(name),
        status.st_ino,
        status.st_ctime_ns,
    )


def files_under(
    root: Path, without: Path | None = None
) -> Iterator[Source | Unreadable | Dropping]:
    """Every regular file under a folder, or the file itself, in the order of their names.

    Links are followed, each folder once; the folder `without` is left out unless it is `root`.
    Hidden folders are named and not entered; so is what medseg itself left in a folder below
    `root`: masks of a batch, and converted twins of scans.

    Raises:
        BadScan: there is no such place, or it is neither a file nor a folder.
    """
    if not is_folder(root):
        yield file_source(root)
        return
    seen = _identities(without) - _identities(root)
    waiting = [(str(root), "")]
    while waiting:
        folder, name = waiting.pop()
        try:
            status = os.stat(folder)  # noqa: PTH116
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            yield Unreadable(printable(name) or ".", f"{UNREADABLE}: {error.strerror} (a folder)")
            continue
        own = own_files(folder, {entry.name for entry in entries}, root) if name else frozenset()
        folders = []
        for entry in entries:
            below = f"{name}/{entry.name}" if name else entry.name
            if is_dropping(entry.name) or entry.name in own:
                yield Dropping(printable(below))
                continue
            try:
                if entry.is_dir():
                    folders.append((entry.path, below))
                    continue
                status = entry.stat()
            except OSError as error:
                yield Unreadable(printable(below), f"{UNREADABLE}: {_why(entry, error)}")
                continue
            if stat.S_ISREG(status.st_mode):
                yield _on_disk(entry.path, status, below)
        waiting.extend(reversed(folders))


def _why(entry: os.DirEntry[str], error: OSError) -> str:
    """What the system says, and of a link to nothing what it may stand for."""
    if entry.is_symlink() and isinstance(error, FileNotFoundError):
        return "a link to a file that is not there (not fetched by git-annex or DataLad?)"
    return error.strerror or str(error)


def _identities(folder: Path | None) -> set[tuple[int, int]]:
    """How the system knows a folder; empty where there is none."""
    if folder is None or not is_folder(folder):
        return set()
    status = folder.stat()
    return {(status.st_dev, status.st_ino)}


def common_folder(sources: Sequence[Source]) -> str:
    """The name of the only file, else of the folder that all files share."""
    if len(sources) == 1:
        return sources[0].name
    parts = [source.folder.split("/") if source.folder else [] for source in sources]
    shared = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return "/".join(shared) or "."


def open_each(sources: Iterable[Source]) -> Iterator[tuple[Source, IO[bytes]]]:
    """Every source with its open stream, valid until the next is requested.

    Files on disk come in the order given; those of one archive together, in the archive's order,
    so that it is gone through once.

    Raises:
        BadScan: a file or archive cannot be read.
    """
    packed: dict[str, dict[int, Source]] = {}
    for source in sources:
        if source.member:
            packed.setdefault(source.path, {})[source.number] = source
        else:
            with _opened(source) as stream:
                yield source, stream
    for path, members in packed.items():
        first = next(iter(members.values()))
        _refuse_if_changed(first)
        names = {number: source.member for number, source in members.items()}
        for member in open_members(Path(path), names):
            yield members[member.number], cast(IO[bytes], member.stream)
            member.stream.finish()


@contextmanager
def _opened(source: Source) -> Iterator[IO[bytes]]:
    _refuse_if_changed(source)
    try:
        stream = open(source.path, "rb", buffering=0)  # noqa: PTH123, SIM115
    except OSError as error:
        raise BadScan(UNREADABLE, path=source.name, found=error.strerror) from None
    with stream:
        yield stream


def _refuse_if_changed(source: Source) -> None:
    try:
        status = os.stat(source.path)  # noqa: PTH116
    except OSError as error:
        raise BadScan(UNREADABLE, path=source.name, found=error.strerror) from None
    if status.st_mtime_ns != source.changed_ns or (
        not source.member and status.st_size != source.size
    ):
        raise BadScan(
            f"{UNREADABLE}: the file has changed since it was looked at",
            path=source.name,
            remedy="Run again.",
        )
