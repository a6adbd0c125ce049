"""Volumes as plain single-frame DICOM series, for phantoms and tests."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import DSfloat

from medseg.errors import BadOutput
from medseg.geometry import LPS_SIGNS, ORTHOGONAL_COSINE
from medseg.volume import Volume
from medseg.writers.atomic import atomic_path

Modality = Literal["CT", "MR", "PT"]

_SOP_CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
}

#: Rescale intercept by which CT's usual range fits into unsigned numbers too.
_INTERCEPTS = {"CT": -1024.0}

#: Attributes that the modules ask for, empty or with a neutral value.
_COMMON = {
    "PatientBirthDate": "",
    "PatientSex": "",
    "StudyDate": "20000101",
    "StudyTime": "120000",
    "AccessionNumber": "",
    "ReferringPhysicianName": "",
    "StudyID": "1",
    "Manufacturer": "medseg",
    "PositionReferenceIndicator": "",
    "PatientPosition": "HFS",
    "Laterality": "",
}
_OWN: dict[str, dict[str, Any]] = {
    "CT": {"KVP": "120", "RescaleType": "HU"},
    "MR": {
        "ScanningSequence": "GR",
        "SequenceVariant": "NONE",
        "ScanOptions": "",
        "MRAcquisitionType": "3D",
        "EchoTime": "3",
        "EchoTrainLength": "1",
        "RepetitionTime": "8",
    },
    "PT": {"Units": "BQML", "CountsSource": "EMISSION", "DecayCorrection": "NONE"},
}


def write_dicom_series(
    volume: Volume,
    folder: Path,
    *,
    modality: Modality = "CT",
    seed: int = 0,
    series: int = 1,
    patient: str = "phantom",
    ending: str = ".dcm",
    flavour: str = "",
) -> tuple[Path, ...]:
    """Write one file a slice along the third array axis, in any orientation, sheared or not.

    Values are kept exactly where they are whole and fit 16 bits beside the modality's usual
    intercept; otherwise they are rounded to the 65,535 steps of their range.

    Args:
        volume: one channel.
        folder: where the files go; made if need be.
        modality: which kind of image object.
        seed: UIDs follow from it; one seed is one study and one frame of reference.
        series: number of the series within the study.
        patient: name and id of the patient, who does not exist.
        ending: of the file names, or empty.
        flavour: third value of the image type, such as ``LOCALIZER``; empty for the usual one.

    Returns:
        The files in slice order.

    Raises:
        BadOutput: several channels, rows not at right angles to columns, or the folder cannot
            be written.
    """
    _check(volume, folder)
    stored, slope, intercept = _stored(volume, _INTERCEPTS.get(modality, 0.0))
    template = _template(volume, modality, seed, series, patient)
    if flavour:
        template.ImageType = ["ORIGINAL", "PRIMARY", flavour]
    template.RescaleSlope, template.RescaleIntercept = _decimal(slope), _decimal(intercept)
    if volume.origin.padding_value is not None:
        padding = round((volume.origin.padding_value - intercept) / slope)
        template.add_new(0x00280120, "SS", int(np.clip(padding, -32768, 32767)))
    files = []
    for k in range(volume.geometry.shape[2]):
        file = folder / f"{k + 1:04d}{ending}"
        dataset = _slice(template, volume, stored[:, :, k], k, (seed, series))
        with atomic_path(file) as temporary:
            dataset.save_as(temporary, enforce_file_format=True)
        files.append(file)
    return tuple(files)


def _check(volume: Volume, folder: Path) -> None:
    if volume.data.shape[0] != 1:
        raise BadOutput(
            "a DICOM series holds one channel", path=folder, found=volume.data.shape[0], expected=1
        )
    row, column = volume.geometry.directions[:, :2].T
    if abs(row @ column) > ORTHOGONAL_COSINE:
        raise BadOutput(
            "rows and columns of a DICOM image are at right angles",
            path=folder,
            found=f"a cosine of {row @ column:.3g} between them",
        )


def _stored(volume: Volume, intercept: float) -> tuple[NDArray[np.int16], float, float]:
    """(X, Y, Z) numbers of 16 bits, and the slope and intercept that give the values back."""
    values = volume.data[0].astype(np.float64) * volume.slope + volume.intercept
    lowest, highest = float(values.min()), float(values.max())
    whole = bool(np.array_equal(values, np.rint(values)))
    if whole and lowest - intercept >= -32768 and highest - intercept <= 32767:
        return (values - intercept).astype(np.int16), 1.0, intercept
    slope = float(_decimal((highest - lowest) / 65534 or 1.0))
    middle = float(_decimal((highest + lowest) / 2))
    return (
        np.clip(np.rint((values - middle) / slope), -32767, 32767).astype(np.int16),
        (slope),
        middle,
    )


def _template(volume: Volume, modality: Modality, seed: int, series: int, patient: str) -> Dataset:
    """What all slices share."""
    dataset = Dataset()
    for name, value in (_COMMON | _OWN[modality]).items():
        setattr(dataset, name, value)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.Modality = _SOP_CLASSES[modality], modality
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if modality == "CT" else "OTHER"]
    dataset.PatientName, dataset.PatientID = f"{patient}^", patient
    dataset.StudyInstanceUID = _uid(seed, "study")
    dataset.SeriesInstanceUID = _uid(seed, "series", series)
    dataset.FrameOfReferenceUID = _uid(seed, "frame of reference")
    dataset.SeriesNumber, dataset.AcquisitionNumber = series, 1
    geometry = volume.geometry
    dataset.Columns, dataset.Rows = geometry.shape[:2]
    axes = geometry.directions * np.array([[-1.0], [-1.0], [1.0]])
    dataset.ImageOrientationPatient = [_decimal(v) for v in (*axes[:, 0], *axes[:, 1])]
    across, down, _ = geometry.spacing_mm
    dataset.PixelSpacing = [_decimal(down), _decimal(across)]
    normal = np.cross(axes[:, 0], axes[:, 1])
    thickness = abs(normal @ axes[:, 2]) * geometry.spacing_mm[2] / np.linalg.norm(normal)
    dataset.SliceThickness = _decimal(thickness)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 1
    return dataset


def _slice(
    template: Dataset, volume: Volume, stored: NDArray[np.int16], k: int, seed: tuple[int, int]
) -> Dataset:
    dataset = copy(template)
    dataset.SOPInstanceUID = _uid(*seed, "instance", k)
    dataset.InstanceNumber = k + 1
    position = volume.geometry.to_world((0, 0, k)) * LPS_SIGNS
    dataset.ImagePositionPatient = [_decimal(mm) for mm in position]
    dataset.PixelData = stored.T.astype("<i2").tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _decimal(value: float) -> DSfloat:
    """A decimal string of the 16 letters that DICOM allows."""
    return DSfloat(float(value) + 0.0, auto_format=True)


def _uid(*parts: object) -> str:
    return str(generate_uid(entropy_srcs=["medseg", *map(str, parts)]))
