"""Reads the headers of a mask's source series again, from disk or out of an archive."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from medseg.errors import BadOutput, BadScan
from medseg.volume import SourceFiles

_MUST_BE_THERE = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")

#: The way out for a mask that no DICOM object can be made of.
INSTEAD = "Choose --format nifti."


@dataclass(frozen=True)
class FilesOnDisk:
    """Source files that a caller names by their paths."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def streams(self) -> Iterator[tuple[int, IO[bytes]]]:
        """Each file's number and stream."""
        for place, path in enumerate(self.paths):
            with path.open("rb") as stream:
                yield place, stream


def headers(files: SourceFiles, target: Path) -> list[Dataset]:
    """The data sets without their pixels, in slice order.

    Raises:
        BadOutput: a file cannot be read, or lacks a UID that others refer to.
    """
    datasets: dict[int, Dataset] = {}
    try:
        for place, stream in files.streams():
            datasets[place] = _header(stream, target)
    except (OSError, InvalidDicomError, EOFError, AttributeError, BadScan) as error:
        raise BadOutput(
            "a file of the source series cannot be read any more",
            path=target,
            found=error.problem if isinstance(error, BadScan) else type(error).__name__,
        ) from None
    return [datasets[place] for place in sorted(datasets)]


def _header(stream: IO[bytes], target: Path) -> Dataset:
    dataset = pydicom.dcmread(_Rewindable(stream), stop_before_pixels=True, force=True)
    if not dataset.get("SOPClassUID"):
        dataset.SOPClassUID = dataset.file_meta.get("MediaStorageSOPClassUID", "")
    if not all(dataset.get(name) for name in _MUST_BE_THERE):
        raise BadOutput(
            "a DICOM object refers to its source by UIDs, and the source lacks one of them",
            path=target,
            expected=", ".join(_MUST_BE_THERE),
            remedy=INSTEAD,
        )
    return dataset


class _Rewindable(io.RawIOBase):
    """A stream that can go back, for one that cannot: it remembers what was read so far."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__()
        self._stream, self._seen, self._place = stream, bytearray(), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, place: int, whence: int = 0) -> int:
        if whence == 2:
            self._fill(None)
            place += len(self._seen)
        self._place = place + (self._place if whence == 1 else 0)
        return self._place

    def read(self, size: int = -1) -> bytes:
        self._fill(None if size < 0 else self._place + size)
        end = len(self._seen) if size < 0 else self._place + size
        content = bytes(self._seen[self._place : end])
        self._place += len(content)
        return content

    def _fill(self, end: int | None) -> None:
        while end is None or len(self._seen) < end:
            wanted = 1 << 20 if end is None else end - len(self._seen)
            part = self._stream.read(wanted)
            if not part:
                return
            self._seen += part
