"""DICOM files for tests: small slices with known numbers at known places, freely bent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian

MR, CT, PT = (f"1.2.840.10008.5.1.4.1.1.{kind}" for kind in ("4", "2", "128"))
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)

Change = Callable[[Dataset, int], None]


def pixels_of(k: int, rows: int = 6, columns: int = 5) -> np.ndarray:
    """Every number says where it is: 100 * slice + 10 * row + column."""
    return (100 * k + 10 * np.arange(rows)[:, None] + np.arange(columns)).astype(np.int16)


def dataset_of(
    k: int,
    *,
    series: str = "2.25.1",
    position: Sequence[float] | None = None,
    pixels: np.ndarray | None = None,
) -> Dataset:
    """Slice k of a series: 5 columns of 0.5 mm, 6 rows of 0.8 mm, a slice every 2 mm."""
    pixels = pixels_of(k) if pixels is None else pixels
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = MR
    meta.MediaStorageSOPInstanceUID = f"{series}.{k + 1}"
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = MR, f"{series}.{k + 1}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.9", series
    dataset.FrameOfReferenceUID, dataset.Modality = "2.25.8", "MR"
    dataset.PatientName, dataset.PatientID = "Secret^Name", "SECRET-ID"
    dataset.SeriesDescription, dataset.InstanceNumber = "brain of Secret", k + 1
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    dataset.ImagePositionPatient = list(position or (10.0, -20.0, 30.0 + 2.0 * k))
    dataset.ImageOrientationPatient, dataset.PixelSpacing = list(AXIAL), [0.8, 0.5]
    dataset.SliceThickness = 7
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 1
    dataset.PixelData = pixels.astype("<i2").tobytes()
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    """Write a file with its preamble."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path,
    count: int = 6,
    *,
    change: Change | None = None,
    series: str = "2.25.1",
    prefix: str = "",
) -> Path:
    """A series of single-frame files, each bent by `change(dataset, k)`."""
    for k in range(count):
        dataset = dataset_of(k, series=series)
        if change is not None:
            change(dataset, k)
        save(dataset, folder / f"{prefix}{k:03d}.dcm")
    return folder


def _group(**elements: object) -> DicomSequence:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return DicomSequence([item])


def enhanced_of(
    frames: Sequence[dict], *, series: str = "2.25.1", change: Change | None = None
) -> Dataset:
    """An enhanced MR file; a frame is ``k`` and any of position, slope, echo_time, stack, time."""
    dataset = dataset_of(0, series=series)
    for keyword in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "SliceThickness",
    ):
        delattr(dataset, keyword)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = ENHANCED_MR
    dataset.NumberOfFrames = len(frames)
    shared = Dataset()
    shared.PixelMeasuresSequence = _group(PixelSpacing=[0.8, 0.5], SliceThickness=7)
    shared.PlaneOrientationSequence = _group(ImageOrientationPatient=list(AXIAL))
    dataset.SharedFunctionalGroupsSequence = DicomSequence([shared])
    items = []
    for frame in frames:
        item = Dataset()
        k = frame["k"]
        item.PlanePositionSequence = _group(
            ImagePositionPatient=list(frame.get("position", (10.0, -20.0, 30.0 + 2.0 * k)))
        )
        item.FrameContentSequence = _group(
            StackID=frame.get("stack", "1"), TemporalPositionIndex=frame.get("time", 1)
        )
        if "orientation" in frame:
            item.PlaneOrientationSequence = _group(
                ImageOrientationPatient=list(frame["orientation"])
            )
        if "echo_time" in frame:
            item.MREchoSequence = _group(EffectiveEchoTime=frame["echo_time"])
        if "slope" in frame:
            item.PixelValueTransformationSequence = _group(
                RescaleSlope=frame["slope"], RescaleIntercept=0, RescaleType="US"
            )
        items.append(item)
    dataset.PerFrameFunctionalGroupsSequence = DicomSequence(items)
    dataset.PixelData = b"".join(
        (pixels_of(frame["k"]) + frame.get("add", 0)).astype("<i2").tobytes() for frame in frames
    )
    if change is not None:
        change(dataset, 0)
    return dataset
