"""Read one scan from a place that holds it: a file, a folder or an archive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg import readers
from medseg.archives.members import is_archive
from medseg.errors import BadScan, MedsegError, NotAVolume
from medseg.files import is_folder, is_there
from medseg.readers.entry import Status
from medseg.scans.discover import discover
from medseg.scans.found import FoundScan
from medseg.scans.selection import Selection
from medseg.scans.stack import Align, Frames, stack
from medseg.volume import Volume


def read(path: str | Path, *, volume: int | None = None, series: str | None = None) -> Volume:
    """Read one scan: a file of any format, a DICOM folder, or an archive that holds one scan.

    Args:
        path: the place; ``path#SERIES`` chooses one series of a folder or archive.
        volume: which volume, from 0, where the scan holds several.
        series: SeriesInstanceUID or case of the series, where there are several.

    Raises:
        BadScan: nothing usable, or more than one scan and none is chosen: says how to choose.
        NotAVolume: the only thing there is no volume.
    """
    place, series = _split(path, series)
    if series is None and not is_folder(place) and not is_archive(place.name):
        return readers.read(place, volume=volume)
    scans = discover(place, selection=Selection(volume=volume))
    if series is not None:
        scans = [scan for scan in scans if scan.is_series(series)]
        if not scans:
            raise BadScan("no such series there", path=place, found=repr(series)[:80])
    usable = [scan for scan in scans if scan.status == Status.USABLE]
    if len(usable) == 1:
        return usable[0].read()
    if usable:
        raise BadScan(
            f"holds {len(usable)} scans, and nothing says which",
            path=place,
            remedy="Choose one: "
            + "; ".join(f"{place.name}#{scan.case} ({scan.describe()})" for scan in usable[:8]),
        )
    raise _refusal(place, scans)


def _split(path: str | Path, series: str | None) -> tuple[Path, str | None]:
    text = str(path)
    if series is None and "#" in text and not is_there(Path(text)):
        text, _, series = text.rpartition("#")
    return Path(text), series


def _refusal(place: Path, scans: Sequence[FoundScan]) -> MedsegError:
    for scan in scans:
        if scan.status == Status.REFUSED:
            return BadScan(scan.reason, path=place)
    named = next((scan for scan in scans if scan.content.described), None)
    if named is not None:
        return NotAVolume(named.reason, path=place)
    return BadScan(
        "no DICOM series and no other readable image found",
        path=place,
        found=scans[0].reason if scans else "nothing",
    )


def read_channels(
    paths: Sequence[str | Path],
    names: Sequence[str],
    *,
    volumes: Sequence[int | None] | None = None,
    align: Align | None = None,
    frames: Frames = Frames.CHECK,
) -> Volume:
    """Several scans as the channels of one volume, on the first one's grid.

    Args:
        paths: one a channel; the same for all where one file's fourth dimension is the channel.
        names: of the channels.
        volumes: which volume of each path; by default 0, 1 … where all paths are one.
        align: resamples a channel on another grid; without it such a channel is refused.
        frames: whether headers must say that the channels share a space.

    Raises:
        GridMismatch: a channel lies in another space than the first, or on another grid and
            there is no `align`.
        BadScan: a channel cannot be read, or names and paths differ in number.
    """
    if len(paths) != len(names) or not paths:
        raise BadScan(
            "channels and their names differ in number", found=len(paths), expected=len(names)
        )
    if volumes is None:
        one_file = len(paths) > 1 and len({str(path) for path in paths}) == 1
        volumes = [number if one_file else None for number in range(len(paths))]
    scans = [read(path, volume=volume) for path, volume in zip(paths, volumes, strict=True)]
    return stack(scans, names, align=align, frames=frames)
