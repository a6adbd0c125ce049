"""A mask that lies in a file of its own, or inside an archive as ``archive.zip#CASE``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from medseg.archives.members import is_archive
from medseg.errors import BadScan, MedsegError
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.readers.labels import needs_image, read_labels
from medseg.readers.sources import Source
from medseg.scans import packed
from medseg.scans.discover import discover
from medseg.volume import LabelMap


def read_mask(
    path: Path, *, labels: LabelTable | None = None, grid: Geometry | None = None
) -> LabelMap:
    """Read a mask; see :func:`medseg.readers.labels.read_labels`.

    Raises:
        BadScan: the archive holds no such mask.
        MedsegError: whatever is wrong with the mask.
    """
    with mask_file(path) as file:
        if file == path:
            return read_labels(path, labels=labels, grid=grid)
        try:
            mask = read_labels(file, labels=labels, grid=grid)
        except MedsegError as error:
            raise error.about(str(path)) from None
    return replace(mask, origin=replace(mask.origin, path=str(path)))


def mask_needs_image(path: Path) -> bool:
    """Whether a mask is a DICOM object, which is read on the grid of its image."""
    with mask_file(path) as file:
        return needs_image(file)


@contextmanager
def mask_file(path: Path) -> Iterator[Path]:
    """The mask's own file, or a copy of the member in the temporary folder, gone afterwards.

    Raises:
        BadScan: the archive holds no such mask, or cannot be read.
    """
    archive_path, name = _parted(path)
    if not name:
        yield path
        return
    source = _members(archive_path, archive_path.stat().st_mtime_ns).get(name)
    if source is None:
        raise BadScan("the archive holds no such mask", path=archive_path, found=repr(name)[:80])
    with packed.copy_of(source) as file:
        yield file


def member_name(case: str, number: int, count: int) -> str:
    """What stands behind the ``#``: the case, and a number where its series has several files."""
    return case if count == 1 else f"{case}.{number}"


def _parted(path: Path) -> tuple[Path, str]:
    """The archive and the name within, or the path and nothing."""
    head, _, name = path.name.rpartition("#")
    if not head or not is_archive(head):
        return path, ""
    try:
        if path.exists() or not path.with_name(head).is_file():
            return path, ""
    except (OSError, ValueError):
        return path, ""
    return path.with_name(head), name


@lru_cache(maxsize=4)
def _members(archive_path: Path, changed_ns: int) -> Mapping[str, Source]:
    """Every file of an archive that may be a mask, by name; `changed_ns` distinguishes versions."""
    masks = {}
    for scan in discover(archive_path):
        sources = scan.content.sources
        for number, source in enumerate(sources, start=1):
            masks[member_name(scan.case, number, len(sources))] = source
    return masks
