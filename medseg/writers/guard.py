"""No file of the user's is ever replaced: what medseg wrote in a folder is remembered there.

A verb opens one guard over its output. While it is open, every file that appears through
:func:`~medseg.writers.atomic.atomic_path` in that place passes it: a file that stands there
already must be one that the same verb wrote and that nobody has edited since.
"""

from __future__ import annotations

import fnmatch
import json
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from medseg.checksums import sha256_of
from medseg.errors import BadOutput
from medseg.files import open_file

#: Beside the outputs of a verb that has no ledger: names relative to the folder, and checksums.
RECORD = ".medseg-written"


class Record(Protocol):
    """What one verb wrote in one folder."""

    def checksums(self, name: str) -> Collection[str]:
        """SHA-256 of what the verb last wrote under a name; empty where it wrote nothing."""

    def add(self, name: str, sha256: str) -> None:
        """The verb is about to put a file in place."""


class FileRecord:
    """A record in a hidden file of the folder: one line a file, appended and flushed.

    Args:
        folder: that the names are relative to.
        verb: files that another verb wrote are not this one's to replace.
    """

    def __init__(self, folder: Path, verb: str) -> None:
        self._folder, self._path, self._verb = folder, folder / RECORD, verb
        self._forget()

    def checksums(self, name: str) -> Collection[str]:
        """SHA-256 of what the verb last put, or was about to put, under a name.

        A run that ends between record and rename leaves the file that stood there before.
        """
        self._read_on()
        return self._digests.get(name, ())

    def names(self) -> set[str]:
        """Everything that the verb wrote here."""
        self._read_on()
        return set(self._digests)

    def add(self, name: str, sha256: str) -> None:
        """Append one line; the record is right even where the program ends behind it."""
        known = self.checksums(name)
        replaced = known and _checksum(self._folder / name)
        line = json.dumps([self._verb, name, sha256, *([replaced] if replaced in known else [])])
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, f"\n{line}\n".encode())  # never behind half a line
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _forget(self) -> None:
        self._digests: dict[str, tuple[str, ...]] = {}
        self._bytes_read = 0

    def _read_on(self) -> None:
        """Take in the lines that this and other processes have added since."""
        try:
            with open_file(self._path) as file:
                if os.fstat(file.fileno()).st_size < self._bytes_read:
                    self._forget()
                file.seek(self._bytes_read)
                added = file.read()
        except OSError:
            self._forget()
            return
        whole = added[: added.rfind(b"\n") + 1]
        self._bytes_read += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            try:
                verb, name, *digests = json.loads(line)
            except (ValueError, TypeError, RecursionError):
                continue  # empty, cut off by a crash, or not a line of medseg's
            if verb == self._verb and isinstance(name, str):
                self._digests[name] = tuple(digests)


class OutputGuard:
    """Decides what may be replaced below one folder; open it with :func:`guard_outputs`."""

    def __init__(
        self,
        folder: Path,
        record: Record,
        *,
        patterns: Sequence[str] = ("*",),
        inputs: Iterable[Path] = (),
        in_place: Sequence[str] = (),
        overwrite: bool | None = False,
    ) -> None:
        self._folder = Path(os.path.realpath(folder))
        self._record, self._patterns = record, tuple(patterns)
        self._inputs = {identity for path in inputs if (identity := _identity(path))}
        self._in_place, self._overwrite = frozenset(in_place), overwrite
        self._cleared: set[str] = set()
        self._silent: set[str] = set()

    def name_of(self, path: Path) -> str | None:
        """A path relative to the folder, where this guard watches it."""
        whole = Path(os.path.realpath(path.parent)) / path.name
        if not whole.is_relative_to(self._folder):
            return None
        name = whole.relative_to(self._folder).as_posix()
        return name if any(fnmatch.fnmatchcase(name, p) for p in self._patterns) else None

    def clear(self, path: Path) -> None:
        """Make sure that a path may be written; once is enough for a run.

        Raises:
            BadOutput: an input stands there, or a file that is not medseg's to replace.
        """
        name = self.name_of(path)
        if name is None or name in self._cleared:
            return
        problem = self._problem(path, name)
        if problem:
            raise BadOutput(problem, path=path, remedy=self._remedy(problem))
        self._cleared.add(name)

    def remember(self, path: Path, content: Path) -> None:
        """Put down that the file at `content` is about to appear at `path`."""
        name = self.name_of(path)
        if name is not None and name not in self._silent:
            self._record.add(name, sha256_of(content))

    def _problem(self, path: Path, name: str) -> str:
        """Why a path may not be written, or empty."""
        if not _is_there(path):
            return ""
        if path.is_dir():
            return _FOLDER
        if _identity(path) in self._inputs and name not in self._in_place:
            return _INPUT
        digest = _checksum(path)  # before the record is read: another shard may be writing
        known = self._record.checksums(name)
        is_own = bool(digest) and digest in known
        if not is_own and name in self._in_place:
            self._silent.add(name)  # the user's before and after
            return ""
        if is_own or self._overwrite:
            return ""
        return EDITED if known else FOREIGN

    def _remedy(self, problem: str) -> str:
        if problem not in (EDITED, FOREIGN):
            return "Choose another --output."
        if self._overwrite is None:
            return "Choose another --output, or move the file away."
        return "Choose another --output, or give --overwrite to replace it."


_FOLDER = "a folder stands where the file should go"
_INPUT = "this file is an input: nothing takes its place"
EDITED = "the file was edited since medseg wrote it"
FOREIGN = "a file that this command did not write stands here"


@contextmanager
def guard_outputs(
    folder: Path,
    verb: str,
    *,
    claims: Sequence[str] = (),
    patterns: Sequence[str] = ("*",),
    inputs: Iterable[Path] = (),
    in_place: Sequence[str] = (),
    overwrite: bool | None = False,
    record: Record | None = None,
) -> Iterator[OutputGuard]:
    """Open the guard of a verb over its output folder; refuses before any work is done.

    Args:
        folder: made where missing, and removed again where nothing came of it.
        verb: whose files may be replaced as long as nobody edited them.
        claims: names that the verb is going to write, looked at now.
        patterns: of names to watch, relative to the folder.
        inputs: files that nothing replaces, whatever was asked.
        in_place: names that the verb edits for the user: free, and no more medseg's than before.
        overwrite: the user asked to replace foreign and edited files; ``None`` where a verb has
            no such option.
        record: of what was written; a hidden file in the folder by default.

    Raises:
        BadOutput: a claim cannot be met, or the folder cannot be written.
    """
    guard = OutputGuard(
        folder,
        record or FileRecord(folder, verb),
        patterns=patterns,
        inputs=inputs,
        in_place=in_place,
        overwrite=overwrite,
    )
    for name in claims:
        guard.clear(folder / name)
    with removed_if_empty(folder):
        require_writable(folder)
        _open_guards.append(guard)
        try:
            yield guard
        finally:
            _open_guards.remove(guard)


@contextmanager
def removed_if_empty(folder: Path) -> Iterator[None]:
    """Remove a folder that is new, and new ones above it, when the block ends and it is empty."""
    new = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    try:
        yield
    finally:
        with suppress(OSError):
            for place in new:
                place.rmdir()


#: Written to see whether a disk has room: one block of a file system.
TRIED_BYTES = 4096

#: Of this process: files appear in threads, too, which see no context variable.
_open_guards: list[OutputGuard] = []


def guard_over(path: Path) -> OutputGuard | None:
    """The innermost open guard that watches a path."""
    return next((guard for guard in reversed(_open_guards) if guard.name_of(path)), None)


def require_writable(folder: Path) -> None:
    """Make a folder where it is missing, and try whether a file can be written there.

    Raises:
        BadOutput: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(TRIED_BYTES))  # a full disk takes an empty file
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise BadOutput(
            "the output folder cannot be written",
            path=folder,
            found=error.strerror,
            remedy="Check the path, free space and permissions, or choose another --output.",
        ) from error


def _is_there(path: Path) -> bool:
    """Whether anything has that name, a link that leads nowhere included."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise BadOutput("the file cannot be written", path=path, found=error.strerror) from error
    return True


def _identity(path: Path) -> tuple[int, int] | None:
    """How the system knows a file, whatever it is called; ``None`` where there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _checksum(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError:
        return ""
