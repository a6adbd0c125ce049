"""Masks as DICOM RT Structure Sets: contours in the slices of their source series."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, RTStructureSetStorage

from medseg import __version__
from medseg.errors import BadLabels
from medseg.geometry import LPS_SIGNS, Geometry
from medseg.labels import Label, LabelTable
from medseg.volume import LabelMap, Origin
from medseg.writers.atomic import atomic_file, require_ending
from medseg.writers.dicom_identity import long_string, shortened_names
from medseg.writers.dicom_seg import coded
from medseg.writers.dicom_source import DicomSource, SourceFrame, no_source, read_source
from medseg.writers.rtstruct_contours import closed_lines

ENDING = ".dcm"

#: The retired class by which a structure set names its study (PS3.3 C.8.8.5).
_DETACHED_STUDY = "1.2.840.10008.3.1.2.3.1"

_SERIES_NUMBER = 9002

#: Coordinates are written to this share of the smallest voxel side.
_ROUNDING = 1e-3


def check(geometry: Geometry, origin: Origin, labels: LabelTable | None) -> None:
    """Refuse a scan or a table that no structure set can be made for; sheared grids are fine.

    Raises:
        BadLabels: a code in the table does not fit into DICOM.
        BadOutput: there is no DICOM source.
    """
    if not origin.instances:
        raise no_source(None)
    for label in labels.labels if labels is not None else ():
        if label.code is not None:
            coded(label, None)


def write(
    labelmap: LabelMap, path: Path, source: Sequence[str | Path] | None = None
) -> tuple[str, ...]:
    """Write a mask as a structure set.

    One ROI a label in the table's order, also of labels that the case does not show; a contour a
    connected part of a slice, holes by keyhole, at the slice's own position and with a reference
    to its image. Patient and study are the source's. UIDs follow from source and mask.

    Args:
        labelmap: a named mask on the grid of a DICOM series.
        path: the file, ending in ``.dcm``.
        source: the series' files, where ``labelmap.origin.instances`` does not know them.

    Returns:
        What could not be kept of the source or the labels.

    Raises:
        BadLabels: the mask has no label table, or a code that DICOM does not allow.
        BadOutput: there is no DICOM source, the mask is not on its grid, or the file cannot be
            written.
    """
    require_ending(path, ENDING)
    if labelmap.labels is None:
        raise BadLabels("a structure set needs names for its labels", path=path)
    series = read_source(labelmap, source, path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom quotes odd values, a patient's name among them
        dataset = _dataset(labelmap, labelmap.labels, series, path)
        with atomic_file(path) as file:
            dataset.save_as(file, enforce_file_format=True)
    return (*series.warnings, *shortened_names(labelmap.labels.names, "RTSTRUCT"))


def _dataset(labelmap: LabelMap, table: LabelTable, series: DicomSource, path: Path) -> Dataset:
    uid = series.uids(labelmap.data, "RTSTRUCT")
    meta: Any = FileMetaDataset()
    meta.MediaStorageSOPClassUID = RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = UID(uid("instance"))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    dataset.update(series.patient)
    _describe_series(dataset, series, uid)
    dataset.ReferencedFrameOfReferenceSequence = [_frame_of_reference(series)]
    numbered = list(enumerate(table.labels, start=1))
    dataset.StructureSetROISequence = [_roi(label, n, series) for n, label in numbered]
    dataset.ROIContourSequence = [_contours(labelmap, label, n, series) for n, label in numbered]
    dataset.RTROIObservationsSequence = [_observation(label, n, path) for n, label in numbered]
    written: Dataset = dataset
    return written


def _describe_series(dataset: Any, series: DicomSource, uid: Callable[[str], str]) -> None:
    dataset.SOPClassUID = RTStructureSetStorage
    dataset.SOPInstanceUID = uid("instance")
    dataset.StudyInstanceUID = series.study
    dataset.SeriesInstanceUID = uid("series")
    dataset.Modality = "RTSTRUCT"
    dataset.SeriesNumber = _SERIES_NUMBER
    dataset.SeriesDescription = "Segmentation"
    dataset.OperatorsName = ""
    dataset.Manufacturer = dataset.ManufacturerModelName = "medseg"
    dataset.SoftwareVersions = __version__
    dataset.InstanceNumber = 1
    dataset.FrameOfReferenceUID = series.frame_of_reference
    dataset.PositionReferenceIndicator = ""
    dataset.StructureSetLabel = "SEGMENTATION"
    dataset.StructureSetDate = dataset.StructureSetTime = ""
    dataset.ApprovalStatus = "UNAPPROVED"


def _frame_of_reference(series: DicomSource) -> Dataset:
    """The images that the contours lie in, each once."""
    images = {frame.instance: _image(frame, numbered=False) for frame in series.frames}
    one = Dataset()
    one.SeriesInstanceUID = series.series
    one.ContourImageSequence = list(images.values())
    study = Dataset()
    study.ReferencedSOPClassUID = _DETACHED_STUDY
    study.ReferencedSOPInstanceUID = series.study
    study.RTReferencedSeriesSequence = [one]
    frame_of_reference = Dataset()
    frame_of_reference.FrameOfReferenceUID = series.frame_of_reference
    frame_of_reference.RTReferencedStudySequence = [study]
    return frame_of_reference


def _image(frame: SourceFrame, *, numbered: bool) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = frame.sop_class
    item.ReferencedSOPInstanceUID = frame.instance
    if numbered and frame.number is not None:
        item.ReferencedFrameNumber = frame.number
    return item


def _roi(label: Label, number: int, series: DicomSource) -> Dataset:
    item = Dataset()
    item.ROINumber = number
    item.ReferencedFrameOfReferenceUID = series.frame_of_reference
    item.ROIName = long_string(label.name)
    item.ROIGenerationAlgorithm = "AUTOMATIC"
    return item


def _contours(labelmap: LabelMap, label: Label, number: int, series: DicomSource) -> Dataset:
    item = Dataset()
    item.ROIDisplayColor = list(label.rgb)
    item.ReferencedROINumber = number
    contours: list[Dataset] = []
    for index, points in _lines(labelmap.data == label.value, labelmap.geometry):
        contour = Dataset()
        contour.ContourNumber = len(contours) + 1
        contour.ContourImageSequence = [_image(series.frames[index], numbered=True)]
        contour.ContourGeometricType = "CLOSED_PLANAR"
        contour.NumberOfContourPoints = len(points)
        contour.ContourData = _decimals(points, min(labelmap.geometry.spacing_mm))
        contours.append(contour)
    if contours:
        item.ContourSequence = contours
    return item


def _lines(
    inside: NDArray[np.bool_], geometry: Geometry
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Slice by slice, (N, 3) points of closed lines in LPS mm."""
    for index in np.flatnonzero(inside.any(axis=(0, 1))):
        for line in closed_lines(inside[:, :, index]):
            voxels = np.column_stack([line, np.full(len(line), index)])
            yield int(index), geometry.to_world(voxels) * LPS_SIGNS


def _decimals(points: NDArray[np.float64], smallest_mm: float) -> list[str]:
    """Coordinates as decimal strings of at most 16 characters, rounded below what counts."""
    digits = max(2, math.ceil(-math.log10(_ROUNDING * smallest_mm)))
    return [f"{number:.{digits}f}" for number in (points.ravel() + 0.0).tolist()]


def _observation(label: Label, number: int, path: Path) -> Dataset:
    item = Dataset()
    item.ObservationNumber = number
    item.ReferencedROINumber = number
    item.RTROIInterpretedType = ""
    item.ROIInterpreter = ""
    if label.code is not None:
        item.RTROIIdentificationCodeSequence = [coded(label, path)]
    return item
