"""DICOM objects that hold structures instead of an image: SEG and RTSTRUCT."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from medseg.errors import BadLabels, BadScan
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.readers.dicom import rtstruct, segmentation
from medseg.readers.dicom.file import hashed
from medseg.readers.segments import combine
from medseg.volume import LabelMap, Origin


def read(path: Path, grid: Geometry | None, wanted: LabelTable | None) -> LabelMap:
    """The structures of a SEG or RTSTRUCT as one integer a voxel.

    Args:
        path: the file.
        grid: of the image; contours need it, frames have one of their own.
        wanted: what is looked for.

    Raises:
        BadLabels: no structures, overlapping ones, or contours without a grid.
        BadScan: damaged, or another kind of object.
        GridMismatch: they do not lie on the grid.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom quotes odd values, a patient's name among them
        dataset = _dataset(path)
        if str(dataset.get("SOPClassUID", "")) == rtstruct.SOP_CLASS:
            if grid is None:
                raise BadLabels(
                    "contours are drawn on an image, and need its grid",
                    path=path,
                    remedy="Name it beside its image in a cohort's table.",
                )
            parts = rtstruct.segments(dataset, grid, wanted, path=path)
        elif str(dataset.get("SOPClassUID", "")) in segmentation.SOP_CLASSES:
            parts, grid = segmentation.segments(dataset, grid, path=path)
        else:
            raise BadScan("a DICOM file, but neither SEG nor RTSTRUCT: no mask", path=path)
    if not parts:
        raise BadLabels("the file holds no structure", path=path)
    data, table, remarks = combine(parts, wanted, path=path)
    return LabelMap(data, grid, table, Origin(path=str(path), warnings=remarks))


def names(path: Path) -> tuple[str, ...]:
    """What a SEG or RTSTRUCT calls its structures; empty for other objects."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = _dataset(path)
        if str(dataset.get("SOPClassUID", "")) == rtstruct.SOP_CLASS:
            return rtstruct.structure_names(dataset)
        if str(dataset.get("SOPClassUID", "")) in segmentation.SOP_CLASSES:
            return segmentation.structure_names(dataset)
    return ()


def contour_names(path: Path) -> tuple[str, ...]:
    """What an RTSTRUCT calls its structures, drawn or not; empty for other objects."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = _dataset(path)
        if str(dataset.get("SOPClassUID", "")) != rtstruct.SOP_CLASS:
            return ()
        return tuple(
            str(item.get("ROIName") or f"ROI {item.get('ROINumber')}")
            for item in dataset.get("StructureSetROISequence") or ()
        )


def references(path: Path) -> frozenset[str]:
    """Hashes of every object and series that the file refers to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return frozenset(hashed(uid) for uid in _referred(_dataset(path)))


def _dataset(path: Path) -> Dataset:
    try:
        return pydicom.dcmread(path)
    except (OSError, InvalidDicomError, EOFError, AttributeError, ValueError) as error:
        raise BadScan(
            "the DICOM file cannot be read", path=path, found=type(error).__name__
        ) from None


def _referred(dataset: Dataset) -> Iterator[str]:
    for element in dataset:
        if element.keyword in ("ReferencedSOPInstanceUID", "SeriesInstanceUID"):
            yield str(element.value)
        elif element.VR == "SQ":
            for item in element.value:
                yield from _referred(item)
