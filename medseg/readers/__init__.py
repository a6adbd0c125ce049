"""Which scans can be read, and how: any format, one way in.

A reader is a module with ``recognises(path)`` and ``read(path, *, volume, nonfinite)``, listed in
`READERS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medseg.errors import BadScan, GridMismatch, MedsegError, NotAVolume
from medseg.readers import formats
from medseg.readers.archive import is_archive
from medseg.readers.discovery import discover
from medseg.readers.formats import READERS
from medseg.readers.found import FoundScan
from medseg.readers.labels import read_labels
from medseg.readers.selection import Selection
from medseg.volume import Volume

__all__ = ["READERS", "FoundScan", "Selection", "discover", "read", "read_channels", "read_labels"]


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
    if place.is_file() and series is None and not is_archive(place.name):
        return formats.read(place, volume=volume)
    found = discover(place, selection=Selection(volume=volume))
    if series is not None:
        found = [scan for scan in found if scan.is_series(series)]
        if not found:
            raise BadScan("no such series there", path=place, found=repr(series)[:80])
    usable = [scan for scan in found if scan.status == "usable"]
    if len(usable) == 1:
        return usable[0].read()
    if usable:
        raise BadScan(
            f"holds {len(usable)} scans, and nothing says which",
            path=place,
            remedy="Choose one: "
            + "; ".join(f"{place.name}#{scan.case} ({scan.describe()})" for scan in usable[:8]),
        )
    raise _refusal(place, found)


def _split(path: str | Path, series: str | None) -> tuple[Path, str | None]:
    text = str(path)
    if series is None and "#" in text and not Path(text).exists():
        text, _, series = text.rpartition("#")
    return Path(text), series


def _refusal(place: Path, found: Sequence[FoundScan]) -> MedsegError:
    for scan in found:
        if scan.status == "refused":
            return BadScan(scan.reason, path=place)
    named = next((scan for scan in found if scan.finding is not None), None)
    if named is not None:
        return NotAVolume(named.reason, path=place)
    return BadScan(
        "no DICOM series and no other readable image found",
        path=place,
        found=found[0].reason if found else "nothing",
    )


def read_channels(paths: Sequence[str | Path], names: Sequence[str]) -> Volume:
    """Several scans on one grid as the channels of one volume.

    Values are stacked as they are where all share their scaling, else as float32 values.

    Args:
        paths: one a channel; the same for all where one file's fourth dimension is the channel.
        names: of the channels.

    Raises:
        GridMismatch: a channel lies on another grid than the first.
        BadScan: a channel cannot be read, or names and paths differ in number.
    """
    if len(paths) != len(names) or not paths:
        raise BadScan(
            "channels and their names differ in number", found=len(paths), expected=len(names)
        )
    one_file = len(paths) > 1 and len({str(path) for path in paths}) == 1
    scans = [read(path, volume=number if one_file else None) for number, path in enumerate(paths)]
    first = scans[0]
    for name, scan in zip(names, scans, strict=True):
        if not scan.geometry.same_grid(first.geometry):
            raise GridMismatch(
                f"channel {name!r} lies on another grid than {names[0]!r}",
                path=scan.origin.path,
                found=scan.geometry.describe_beside(first.geometry),
                expected=first.geometry.describe(),
            )
    shared = len({(scan.slope, scan.intercept, scan.data.dtype) for scan in scans}) == 1
    data = np.concatenate([scan.data if shared else scan.values() for scan in scans])
    slope, intercept = (first.slope, first.intercept) if shared else (1.0, 0.0)
    return Volume(data, first.geometry, slope, intercept, tuple(names), first.origin)
