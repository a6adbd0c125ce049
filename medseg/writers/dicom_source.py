"""The DICOM series that a mask belongs to: where each of its frames lies, and whose it is."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, generate_uid

from medseg.errors import BadOutput, BadScan
from medseg.geometry import LPS_SIGNS, Geometry
from medseg.volume import LabelMap, SourceFiles
from medseg.writers.dicom_identity import identity

#: A slice is a frame's when their first pixels lie closer than this share of the slices' step:
#: what readers accept as evenly spaced.
_MATCH_STEPS = 0.1

#: Least cosine between the mask's axes and the source's rows and columns (0.8 degrees).
_SAME_DIRECTION = 0.9999

_MUST_BE_THERE = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")

#: UIDs by which a PACS and viewers find what an object belongs to.
_PLACES = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")

_INSTEAD = "Choose --format nifti."


@dataclass(frozen=True, eq=False)
class SourceFrame:
    """One slice of the source.

    Attributes:
        sop_class: UID of the kind of object that it is in.
        instance: UID of that object.
        number: its number within a multi-frame object, from 1; ``None`` for a single-frame one.
        position_lps_mm: centre of its first pixel.
        orientation: cosines of the row and the column direction.
        pixel_spacing_mm: between rows, between columns.
        shape: columns and rows.
    """

    sop_class: str
    instance: str
    number: int | None
    position_lps_mm: tuple[float, ...]
    orientation: NDArray[np.float64]
    pixel_spacing_mm: tuple[float, ...]
    shape: tuple[int, int]


@dataclass(frozen=True, eq=False)
class DicomSource:
    """What an object derived from a series says of it.

    Attributes:
        frames: of each slice along the mask's third axis, in that order.
        patient: patient and study in valid form, in UTF-8.
        study: UID.
        series: UID.
        frame_of_reference: UID; one of our own where the source has none.
        modality: of the source.
        lossy: ``LossyImageCompression`` and what belongs to it, where the source says so.
        warnings: what could not be kept; nothing that names a patient.
    """

    frames: tuple[SourceFrame, ...]
    patient: Dataset
    study: str
    series: str
    frame_of_reference: str
    modality: str
    lossy: Dataset
    warnings: tuple[str, ...]


def read_source(
    labelmap: LabelMap, paths: Sequence[str | Path] | None, target: Path
) -> DicomSource:
    """The series behind a mask, frame by frame in the mask's order.

    Args:
        labelmap: the mask.
        paths: the files of the series, where the mask's origin does not know them.
        target: the file to be written, for messages.

    Raises:
        BadOutput: there is no series, a file cannot be read, or the mask is not on its grid.
    """
    files = FilesOnDisk(tuple(map(Path, paths))) if paths else labelmap.origin.instances
    if not files:
        raise no_source(target)
    with warnings.catch_warnings():
        # pydicom quotes odd values, a patient's name among them; what matters is in `warnings`.
        warnings.simplefilter("ignore")
        datasets = _headers(files, target)
        frames = _frames(datasets, target)
        patient, missing = identity(datasets[0])
    first = datasets[0]
    remarks = [f"{keyword} of the source is no valid value: left empty" for keyword in missing]
    remarks += [
        f"{keyword} of the source is no valid UID: repeated as it is, for the object belongs there"
        for keyword in _PLACES
        if first.get(keyword) and not UID(str(first.get(keyword)).strip()).is_valid
    ]
    reference = str(first.get("FrameOfReferenceUID") or "").strip()
    if not reference:
        reference = generate_uid(
            entropy_srcs=["medseg", str(first.SeriesInstanceUID), "frame of reference"]
        )
    return DicomSource(
        tuple(_match_slices(labelmap.geometry, frames, target)),
        patient,
        str(first.StudyInstanceUID),
        str(first.SeriesInstanceUID),
        reference,
        str(first.get("Modality") or "OT")[:16],
        _lossy(first),
        tuple(remarks),
    )


def no_source(target: Path | None) -> BadOutput:
    """The refusal of a mask that does not come from DICOM."""
    return BadOutput(
        "a DICOM object refers to its source, and this mask's source is no DICOM series",
        path=target,
        remedy=_INSTEAD,
    )


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


def _headers(files: SourceFiles, target: Path) -> list[Dataset]:
    """The data sets without their pixels, in slice order."""
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
            remedy=_INSTEAD,
        )
    return dataset


def _lossy(dataset: Dataset) -> Dataset:
    """How pixels were compressed with loss once, which a derived object must still say."""
    lossy = Dataset()
    if str(dataset.get("LossyImageCompression") or "") != "01":
        return lossy
    lossy.LossyImageCompression = "01"
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        with suppress(ValueError, TypeError):
            if dataset.get(keyword):
                setattr(lossy, keyword, dataset.get(keyword))
    return lossy


def _frames(datasets: list[Dataset], target: Path) -> list[SourceFrame]:
    """Every frame of the datasets with its place in space."""
    frames: list[SourceFrame] = []
    try:
        for dataset in datasets:
            if "PerFrameFunctionalGroupsSequence" in dataset:
                frames += _enhanced(dataset)
            else:
                frames.append(_frame(dataset, dataset, dataset, dataset, None))
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        raise BadOutput(
            "the source does not say where its frames lie", path=target, remedy=_INSTEAD
        ) from None
    return frames


def _enhanced(dataset: Dataset) -> list[SourceFrame]:
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    names = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
    frames = []
    for number, own in enumerate(dataset.PerFrameFunctionalGroupsSequence, start=1):
        position, orientation, measures = (
            (own if name in own else shared)[name].value[0] for name in names
        )
        frames.append(_frame(dataset, position, orientation, measures, number))
    return frames


def _frame(
    dataset: Dataset,
    position: Dataset,
    orientation: Dataset,
    measures: Dataset,
    number: int | None,
) -> SourceFrame:
    return SourceFrame(
        str(dataset.SOPClassUID),
        str(dataset.SOPInstanceUID),
        number,
        _floats(position.ImagePositionPatient),
        np.array(_floats(orientation.ImageOrientationPatient)),
        _floats(measures.PixelSpacing),
        (int(dataset.Columns), int(dataset.Rows)),
    )


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _match_slices(geometry: Geometry, frames: list[SourceFrame], target: Path) -> list[SourceFrame]:
    """The source frame of every slice along the third axis, in that order."""
    slices = geometry.to_world([(0, 0, k) for k in range(geometry.shape[2])]) * LPS_SIGNS
    positions = np.array([frame.position_lps_mm for frame in frames])
    matches = []
    for position in slices:
        apart = np.linalg.norm(positions - position, axis=1)
        nearest = int(apart.argmin())
        if apart[nearest] > _MATCH_STEPS * geometry.spacing_mm[2]:
            raise _elsewhere(target, f"a slice {apart[nearest]:.3g} mm from the nearest frame")
        matches.append(frames[nearest])
    columns, rows = geometry.shape[:2]
    axes = (geometry.directions[:, :2].T * LPS_SIGNS).ravel()
    for frame in matches:
        cosines = (axes * frame.orientation).reshape(2, 3).sum(1)
        if frame.shape != (columns, rows) or cosines.min() < _SAME_DIRECTION:
            raise _elsewhere(target, "frames of another size or direction")
    return matches


def _elsewhere(target: Path, found: str) -> BadOutput:
    return BadOutput(
        "the slices of the mask are not the frames of its source",
        path=target,
        found=found,
        remedy=_INSTEAD,
    )
