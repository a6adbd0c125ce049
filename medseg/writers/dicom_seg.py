"""Masks as DICOM Segmentations (BINARY or LABELMAP) beside their source series in a PACS."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from medseg import __version__
from medseg.errors import BadLabels, BadOutput
from medseg.geometry import Geometry
from medseg.labels import Label, LabelTable, Side
from medseg.volume import LabelMap, Origin
from medseg.writers.atomic import atomic_file, require_ending
from medseg.writers.dicom_headers import INSTEAD
from medseg.writers.dicom_identity import UTF8, long_string, shortened_names
from medseg.writers.dicom_source import DicomSource, no_source, read_source
from medseg.writers.dicom_stand_ins import refer_to_source, stand_in

ENDING = ".dcm"

#: What a structure is, as far as its label says (PS3.16, CID 7150).
_ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
_TISSUE = Code("85756007", "SCT", "Tissue")
_SIDES = {Side.LEFT: Code("7771000", "SCT", "Left"), Side.RIGHT: Code("24028007", "SCT", "Right")}
_ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")

_SERIES_NUMBER = 9001

#: Longest segment description (VR ST).
_MOST_DESCRIPTION = 1024


class Kind(StrEnum):
    """How the voxels of a Segmentation are stored."""

    #: One bit a voxel and a run of frames for each segment: what every viewer reads.
    BINARY = "BINARY"
    #: One number a voxel (Supplement 243, 2024): smaller, read by few programs so far.
    LABELMAP = "LABELMAP"


def check(geometry: Geometry, origin: Origin, labels: LabelTable | None) -> None:
    """Refuse a scan or a table that no DICOM Segmentation can be made for.

    Raises:
        BadLabels: a code in the table does not fit into DICOM.
        BadOutput: there is no DICOM source, or the grid is sheared.
    """
    if not origin.instances:
        raise no_source(None)
    _check_grid(geometry, None)
    if labels is not None:
        _describe_all(labels, None)


def write(
    labelmap: LabelMap, path: Path, source: Sequence[str | Path] | None = None
) -> tuple[str, ...]:
    """Write a mask as a binary DICOM Segmentation.

    Segment 1 is the table's first label, and so on, whether a case shows it or not; frames
    without a voxel are left out. Patient and study are the source's, for that is where the
    object belongs; all text is in UTF-8. UIDs follow from source and mask, so that writing twice
    makes one object.

    Args:
        labelmap: a named mask on the grid of a DICOM series.
        path: the file, ending in ``.dcm``.
        source: the series' files, where ``labelmap.origin.instances`` does not know them.

    Returns:
        What could not be kept of the source or the labels.

    Raises:
        BadLabels: the mask has no label table, or a code that DICOM does not allow.
        BadOutput: there is no DICOM source, the mask is not on its grid, the grid is sheared,
            or the file cannot be written.
    """
    return write_kind(labelmap, path, source, kind=Kind.BINARY)


def write_kind(
    labelmap: LabelMap, path: Path, source: Sequence[str | Path] | None, *, kind: Kind
) -> tuple[str, ...]:
    """Write either kind of Segmentation; see :func:`write`.

    In a label map, segment numbers are the table's values.
    """
    require_ending(path, ENDING)
    if labelmap.labels is None:
        raise BadLabels("a DICOM SEG needs names for its labels", path=path)
    table = labelmap.labels
    _check_grid(labelmap.geometry, path)
    descriptions = _describe_all(table, path)
    series = read_source(labelmap, source, path)
    if kind is Kind.LABELMAP:
        for label, description in zip(table.labels, descriptions, strict=True):
            description.SegmentNumber = label.value
    segmentation = _segmentation(labelmap, table, descriptions, series, kind, path)
    with atomic_file(path) as file:
        segmentation.save_as(file, enforce_file_format=True)
    return (*series.warnings, *shortened_names(table.names, "DICOM SEG"))


def _check_grid(geometry: Geometry, path: Path | None) -> None:
    if not geometry.is_orthogonal:
        raise BadOutput(
            "the grid is sheared (gantry tilt); viewers would misplace a DICOM SEG on it",
            path=path,
            remedy="Choose --format nifti or nrrd, which keep the shear.",
        )


def _describe_all(table: LabelTable, path: Path | None) -> list[Any]:
    return [_describe(label, number, path) for number, label in enumerate(table.labels, start=1)]


def _segmentation(
    labelmap: LabelMap,
    table: LabelTable,
    descriptions: list[Any],
    series: DicomSource,
    kind: Kind,
    path: Path,
) -> Any:
    import highdicom

    pixels = _segment_numbers(labelmap.data, table, kind)
    images = [stand_in(frame, series, labelmap.geometry) for frame in series.frames]
    uid = series.uids(pixels, kind)
    syntax = RLELossless if kind is Kind.LABELMAP else ExplicitVRLittleEndian
    try:
        with warnings.catch_warnings():
            # Told by `series.warnings`: what pydicom quotes may be a patient's name.
            warnings.simplefilter("ignore")
            segmentation = highdicom.seg.Segmentation(
                source_images=images,
                pixel_array=pixels,
                segmentation_type=kind.value,
                segment_descriptions=descriptions,
                series_instance_uid=uid("series"),
                series_number=_SERIES_NUMBER,
                sop_instance_uid=uid("instance"),
                instance_number=1,
                manufacturer="medseg",
                manufacturer_model_name="medseg",
                software_versions=__version__,
                device_serial_number="0",
                content_label="SEGMENTATION",
                series_description="Segmentation",
                specific_character_set=UTF8,
                transfer_syntax_uid=syntax,
            )
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise BadOutput(
            "the source's headers do not allow a DICOM SEG",
            path=path,
            found=type(error).__name__,
            remedy=INSTEAD,
        ) from error
    segmentation.ContentCreatorName = ""
    refer_to_source(segmentation, images, series.frames)
    return segmentation


def _segment_numbers(data: NDArray[Any], table: LabelTable, kind: Kind) -> NDArray[Any]:
    """(frames, rows, columns) segment numbers; ignored voxels are background."""
    values = np.array(table.values)
    own = values if kind is Kind.LABELMAP else np.arange(1, len(values) + 1)
    numbers = np.zeros(max(int(data.max()), int(values.max())) + 1, np.min_scalar_type(own.max()))
    numbers[values] = own
    return np.ascontiguousarray(numbers[data].transpose(2, 1, 0))


def _describe(label: Label, number: int, path: Path | None) -> Any:
    """One segment: name, code, side and recommended colour."""
    import highdicom

    red, green, blue = label.rgb
    name = long_string(label.name)
    description = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=_TISSUE if label.code is None else _ANATOMY,
        segmented_property_type=_TISSUE if label.code is None else coded(label, path),
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="medseg", family=_ARTIFICIAL_INTELLIGENCE, version=__version__
        ),
        display_color=highdicom.color.CIELabColor.from_rgb(red, green, blue),
    )
    if name != label.name:
        description.SegmentDescription = long_string(label.name, _MOST_DESCRIPTION)
    if label.code is not None and label.side in _SIDES:
        side = highdicom.sr.CodedConcept.from_code(_SIDES[label.side])
        kind = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [side]
    return description


def coded(label: Label, path: Path | None) -> Any:
    """What a label's card says of its anatomy, as a coded concept.

    Raises:
        BadLabels: the code does not fit into DICOM.
    """
    import highdicom

    scheme, value, meaning = label.code or ("", "", "")
    if len(scheme) > 16 or max(len(value), len(meaning)) > 64 or "\\" in value + meaning:
        raise BadLabels(
            f"the code of {label.name!r} does not fit into DICOM",
            path=path,
            found=f"[{scheme}, {value}, {meaning}]",
            expected="a scheme of at most 16, a value and a meaning of at most 64 characters",
            remedy="Correct the code in the card.",
        )
    return highdicom.sr.CodedConcept(value, scheme, meaning)
