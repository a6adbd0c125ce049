"""How a mask becomes a DICOM SEG that names its source, its structures and their codes."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from medseg.errors import BadLabels, BadOutput
from medseg.labels import Label, LabelTable, Side
from medseg.volume import LabelMap
from medseg.writers.atomic import atomic_file
from medseg.writers.dicom_source import SourceFrame, match_slices, read_frames, read_source

ENDING = ".dcm"

#: What a structure is, as far as its label tells (PS3.16, CID 7150).
_ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
_TISSUE = Code("85756007", "SCT", "Tissue")
_SIDES = {Side.LEFT: Code("7771000", "SCT", "Left"), Side.RIGHT: Code("24028007", "SCT", "Right")}
_ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")

#: DICOM's longest segment label.
_MOST_LETTERS = 64

_SERIES_NUMBER = 9001


def write(labelmap: LabelMap, path: Path, source: Sequence[str | Path] | None = None) -> None:
    """Write a mask as a binary DICOM Segmentation beside its source series in a PACS.

    Segment 1 is the table's first label, and so on, whether a case shows it or not; frames
    without a voxel are left out. Patient and study are the source's, for that is where the
    object belongs; UIDs follow from source and mask, so that writing twice makes one object.

    Args:
        labelmap: a named mask on the grid of a DICOM series.
        path: the file, ending in ``.dcm``.
        source: the series' files, where ``labelmap.origin.instances`` does not tell them.

    Raises:
        BadLabels: the mask has no label table.
        BadOutput: there is no DICOM source, the mask is not on its grid, the grid is sheared,
            or the file cannot be written.
    """
    if path.suffix.lower() != ENDING:
        raise BadOutput(
            "not a DICOM file name", path=path, found=path.suffix or "no ending", expected=ENDING
        )
    if labelmap.labels is None:
        raise BadLabels("a DICOM SEG needs names for its labels", path=path)
    if not labelmap.geometry.is_orthogonal:
        raise BadOutput(
            "the grid is sheared (gantry tilt); viewers would misplace a DICOM SEG on it",
            path=path,
            remedy="Choose --format nifti or nrrd, which keep the shear.",
        )
    with warnings.catch_warnings():
        # pydicom and highdicom quote odd values, a patient's name among them.
        warnings.simplefilter("ignore")
        datasets = read_source(source or labelmap.origin.instances, path)
        frames = match_slices(labelmap.geometry, read_frames(datasets, path), path)
        segmentation = _segmentation(labelmap, labelmap.labels, datasets, frames, path)
        with atomic_file(path) as file:
            segmentation.save_as(file)


def _segmentation(
    labelmap: LabelMap,
    table: LabelTable,
    datasets: list[Dataset],
    frames: list[SourceFrame],
    path: Path,
) -> Any:
    import highdicom

    images = [datasets[frame.dataset] for frame in frames]
    pixels = _segment_numbers(labelmap.data, table)
    options: dict[str, Any] = {}
    if frames[0].number is not None:
        images = [datasets[frames[0].dataset]]
        options["plane_positions"] = [
            highdicom.PlanePositionSequence("PATIENT", frame.position_lps_mm) for frame in frames
        ]
    for image in images:
        if "SliceThickness" not in image:  # highdicom asks, though we tell it the measures
            image.SliceThickness = labelmap.geometry.spacing_mm[2]
    uid = _uids(images, pixels)
    try:
        segmentation = highdicom.seg.Segmentation(
            source_images=images,
            pixel_array=pixels,
            segmentation_type="BINARY",
            segment_descriptions=[
                _describe(label, number) for number, label in enumerate(table.labels, start=1)
            ],
            series_instance_uid=uid("series"),
            series_number=_SERIES_NUMBER,
            sop_instance_uid=uid("instance"),
            instance_number=1,
            manufacturer="medseg",
            manufacturer_model_name="medseg",
            software_versions=_version(),
            device_serial_number="0",
            content_label="SEGMENTATION",
            series_description="Segmentation",
            pixel_measures=_measures(labelmap, frames[0]),
            **options,
        )
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise BadOutput(
            "the source's headers do not allow a DICOM SEG",
            path=path,
            found=type(error).__name__,
            remedy="Choose --format nifti.",
        ) from error
    segmentation.ContentCreatorName = ""
    return segmentation


def _segment_numbers(data: NDArray[Any], table: LabelTable) -> NDArray[Any]:
    """(frames, rows, columns) with labels counted from 1; ignored voxels are background."""
    largest = max(int(data.max()), *table.values)
    numbers = np.zeros(largest + 1, dtype=np.min_scalar_type(len(table.values)))
    numbers[list(table.values)] = np.arange(1, len(table.values) + 1)
    return np.ascontiguousarray(numbers[data].transpose(2, 1, 0))


def _describe(label: Label, number: int) -> Any:
    """One segment: name, code, side and recommended colour."""
    import highdicom

    kind = _TISSUE if label.code is None else Code(label.code[1], label.code[0], label.code[2])
    red, green, blue = (int(label.colour[start : start + 2], 16) for start in (1, 3, 5))
    description = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=label.name[:_MOST_LETTERS],
        segmented_property_category=_TISSUE if label.code is None else _ANATOMY,
        segmented_property_type=kind,
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="medseg", family=_ARTIFICIAL_INTELLIGENCE, version=_version()
        ),
        display_color=highdicom.color.CIELabColor.from_rgb(red, green, blue),
    )
    if label.code is not None and label.side in _SIDES:
        side = highdicom.sr.CodedConcept.from_code(_SIDES[label.side])
        coded = description.SegmentedPropertyTypeCodeSequence[0]
        coded.SegmentedPropertyTypeModifierCodeSequence = [side]
    return description


def _measures(labelmap: LabelMap, frame: SourceFrame) -> Any:
    """The source's pixel spacing and the true distance of the slices, whatever its tags say."""
    import highdicom

    step = labelmap.geometry.spacing_mm[2]
    return highdicom.PixelMeasuresSequence(
        pixel_spacing=frame.pixel_spacing_mm, slice_thickness=step, spacing_between_slices=step
    )


def _uids(images: list[Dataset], pixels: NDArray[Any]) -> Any:
    """UIDs that follow from source and mask, so that equal masks are one object."""
    content = hashlib.sha256(np.ascontiguousarray(pixels).data)
    for image in images:
        content.update(str(image.SOPInstanceUID).encode())
    return lambda what: generate_uid(entropy_srcs=["medseg", content.hexdigest(), what])


def _version() -> str:
    try:
        return version("medseg")
    except PackageNotFoundError:
        return "unknown"
