"""The DICOM series that a mask belongs to: where each of its frames lies, and whose it is."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid

from medseg.errors import BadOutput
from medseg.geometry import LPS_SIGNS, Geometry
from medseg.volume import LabelMap
from medseg.writers.dicom_headers import INSTEAD, FilesOnDisk, headers
from medseg.writers.dicom_identity import identity

#: A slice is a frame's when their first pixels lie closer than this share of the slices' step:
#: what readers accept as evenly spaced.
_MATCH_STEPS = 0.1

#: Least cosine between the mask's axes and the source's rows and columns (0.8 degrees).
_SAME_DIRECTION = 0.9999

#: UIDs by which a PACS and viewers find what an object belongs to.
_PLACES = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")


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

    def uids(self, pixels: NDArray[Any], kind: str) -> Callable[[str], str]:
        """UIDs that follow from source and mask, so that equal masks are one object."""
        content = hashlib.sha256(np.ascontiguousarray(pixels).data)
        for frame in self.frames:
            content.update(f"{frame.instance} {frame.number or ''}".encode())
        return lambda what: generate_uid(entropy_srcs=["medseg", kind, content.hexdigest(), what])


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
        datasets = headers(files, target)
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
        remedy=INSTEAD,
    )


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
            "the source does not say where its frames lie", path=target, remedy=INSTEAD
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
        remedy=INSTEAD,
    )
