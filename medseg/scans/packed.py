"""Image files inside a zip or tar archive, read through a copy in the temporary folder.

Its bytes go through a file in the system's temporary folder, whose name owes the member's name
nothing but a known ending; what a header points to beside itself is therefore never found.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from medseg import readers
from medseg.errors import BadScan, MedsegError
from medseg.readers import Glimpse
from medseg.readers.itk.header import MOST_HEADER_BYTES
from medseg.readers.sources import Source, open_each
from medseg.readers.values import NonFinite
from medseg.scratch import scratch_folder
from medseg.volume import Volume

_CHUNK = 1 << 20


def look(stream: IO[bytes], source: Source) -> Glimpse:
    """What the header of a member promises.

    Args:
        stream: of the member, at its start.
        source: the member, whose name claims an image format.
    """
    if readers.unpackable_ending(source.name) is None:
        return Glimpse(problem="header and voxels in two files inside an archive: unpack it first")
    try:
        with _copied(stream, source, most=MOST_HEADER_BYTES) as path:
            return readers.glimpse(path)
    except BadScan as error:
        return Glimpse(problem=error.problem)


def read(source: Source, *, volume: int | None, nonfinite: NonFinite) -> Volume:
    """Read a member as a file of its format.

    Raises:
        BadScan: it, or the archive, is damaged, ambiguous, or has changed since it was found.
        NotAVolume: it holds no volume.
    """
    for _, stream in open_each([source]):
        with _copied(stream, source, most=source.size) as path:
            try:
                return readers.read(path, volume=volume, nonfinite=nonfinite)
            except MedsegError as error:
                raise error.about(source.name) from None
    raise BadScan("the archive no longer holds it", path=source.name)


@contextmanager
def copy_of(source: Source) -> Iterator[Path]:
    """A member as a file in the temporary folder, gone again afterwards.

    Raises:
        BadScan: it, or the archive, is damaged, or has changed since it was found.
    """
    for _, stream in open_each([source]):
        with _copied(stream, source, most=source.size) as path:
            yield path
            return
    raise BadScan("the archive no longer holds it", path=source.name)


@contextmanager
def _copied(stream: IO[bytes], source: Source, *, most: int) -> Iterator[Path]:
    """The first bytes of a member as a file, gone again afterwards."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(scratch_folder())
            path = folder / f"scan{readers.unpackable_ending(source.name) or ''}"
            _copy(stream, path, most)
        except OSError as error:
            raise BadScan(
                "cannot be unpacked into the temporary folder",
                path=source.name,
                found=error.strerror,
                remedy="Make room there, or set TMPDIR to a larger disk.",
            ) from None
        yield path


def _copy(stream: IO[bytes], path: Path, most: int) -> None:
    with path.open("wb") as file:
        while most > 0 and (block := stream.read(min(most, _CHUNK))):
            file.write(block)
            most -= len(block)
