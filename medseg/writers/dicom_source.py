"""Which source frame lies where a slice of a mask lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import generate_uid

from medseg.errors import BadOutput
from medseg.geometry import Geometry

#: A slice is a frame's when their first pixels lie closer than this share of the slices' step:
#: what readers accept as evenly spaced.
_MATCH_STEPS = 0.1

#: Least cosine between the mask's axes and the source's rows and columns (0.8 degrees).
_SAME_DIRECTION = 0.9999

#: Attributes that a SEG must repeat, though empty where the source lacks them.
_MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)

_MUST_BE_THERE = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")

_INSTEAD = "Choose --format nifti."

_GEOMETRY = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")


@dataclass(frozen=True, eq=False)
class SourceFrame:
    """One slice of the source.

    Attributes:
        dataset: which of the datasets it is in.
        number: its number within a multi-frame dataset, from 1; ``None`` for a single-frame one.
        position_lps_mm: centre of its first pixel.
        orientation: cosines of the row and the column direction.
        pixel_spacing_mm: between rows, between columns.
        shape: columns and rows.
    """

    dataset: int
    number: int | None
    position_lps_mm: tuple[float, ...]
    orientation: NDArray[np.float64]
    pixel_spacing_mm: tuple[float, ...]
    shape: tuple[int, int]


def read_source(paths: Sequence[str | Path], target: Path) -> list[Dataset]:
    """Headers of the source series, with the empty values that a SEG must repeat.

    Raises:
        BadOutput: there are none, or one cannot be read.
    """
    if not paths:
        raise BadOutput(
            "a DICOM SEG refers to its source, and this mask's source is no DICOM "
            "series in a folder",
            path=target,
            remedy=_INSTEAD,
        )
    datasets: list[Dataset] = []
    for path in paths:
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            if not dataset.get("SOPClassUID"):
                dataset.SOPClassUID = dataset.file_meta.get("MediaStorageSOPClassUID", "")
            if not all(dataset.get(name) for name in _MUST_BE_THERE):
                raise BadOutput(
                    "a DICOM SEG refers to its source by UIDs, and the source lacks one of them",
                    path=target,
                    expected=", ".join(_MUST_BE_THERE),
                    remedy=_INSTEAD,
                )
        except (OSError, InvalidDicomError, EOFError, AttributeError) as error:
            raise BadOutput(
                "a file of the source series cannot be read any more",
                path=target,
                found=type(error).__name__,
            ) from None
        datasets.append(_completed(dataset))
    return datasets


def _completed(dataset: Dataset) -> Dataset:
    """The header with what a SEG must repeat; in memory only.

    A source without a frame of reference gets one of its own, which says no more than that its
    frames belong together.
    """
    for name in _MAY_BE_EMPTY:
        if name not in dataset:
            setattr(dataset, name, "")
    if not dataset.get("SpecificCharacterSet", "kept"):
        del dataset.SpecificCharacterSet
    if not dataset.get("FrameOfReferenceUID"):
        dataset.FrameOfReferenceUID = generate_uid(
            entropy_srcs=["medseg", str(dataset.SeriesInstanceUID), "frame of reference"]
        )
        dataset.PositionReferenceIndicator = ""
    return dataset


def read_frames(datasets: list[Dataset], target: Path) -> list[SourceFrame]:
    """Every frame of the datasets with its place in space.

    Raises:
        BadOutput: a dataset does not say where its frames lie.
    """
    frames = []
    try:
        for index, dataset in enumerate(datasets):
            if "PerFrameFunctionalGroupsSequence" in dataset:
                frames += _enhanced(dataset, index)
            else:
                frames.append(_frame(dataset, dataset, dataset, dataset, index, None))
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        raise BadOutput(
            "the source does not say where its frames lie", path=target, remedy=_INSTEAD
        ) from None
    return frames


def match_slices(geometry: Geometry, frames: list[SourceFrame], target: Path) -> list[SourceFrame]:
    """The source frame of every slice along the third axis, in that order.

    Raises:
        BadOutput: the grid is not that of the frames.
    """
    flip = np.array([-1.0, -1.0, 1.0])
    slices = geometry.to_world([(0, 0, k) for k in range(geometry.shape[2])]) * flip
    positions = np.array([frame.position_lps_mm for frame in frames])
    found = []
    for position in slices:
        apart = np.linalg.norm(positions - position, axis=1)
        nearest = int(apart.argmin())
        if apart[nearest] > _MATCH_STEPS * geometry.spacing_mm[2]:
            raise _elsewhere(target, f"a slice {apart[nearest]:.3g} mm from the nearest frame")
        found.append(frames[nearest])
    columns, rows = geometry.shape[:2]
    axes = (geometry.directions[:, :2].T * flip).ravel()
    for frame in found:
        cosines = (axes * frame.orientation).reshape(2, 3).sum(1)
        if frame.shape != (columns, rows) or cosines.min() < _SAME_DIRECTION:
            raise _elsewhere(target, "frames of another size or direction")
    return found


def _elsewhere(target: Path, found: str) -> BadOutput:
    return BadOutput(
        "the slices of the mask are not the frames of its source",
        path=target,
        found=found,
        remedy=_INSTEAD,
    )


def _enhanced(dataset: Dataset, index: int) -> list[SourceFrame]:
    shared = dataset.SharedFunctionalGroupsSequence[0]
    first = dataset.PerFrameFunctionalGroupsSequence[0]
    frames = []
    for number, own in enumerate(dataset.PerFrameFunctionalGroupsSequence, start=1):
        position, orientation, measures = (
            (own if name in own else shared)[name].value[0] for name in _GEOMETRY
        )
        frames.append(_frame(dataset, position, orientation, measures, index, number))
    for name in _GEOMETRY[1:]:
        if name not in shared:  # where highdicom looks for them
            shared[name] = first[name]
    return frames


def _frame(
    dataset: Dataset,
    position: Dataset,
    orientation: Dataset,
    measures: Dataset,
    index: int,
    number: int | None,
) -> SourceFrame:
    return SourceFrame(
        index,
        number,
        tuple(float(mm) for mm in position.ImagePositionPatient),
        np.array([float(cosine) for cosine in orientation.ImageOrientationPatient]),
        tuple(float(mm) for mm in measures.PixelSpacing),
        (int(dataset.Columns), int(dataset.Rows)),
    )
