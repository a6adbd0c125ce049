"""A mask file becomes a LabelMap: whole numbers from 0 up, with names where the file has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadLabels, BadScan
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.readers.dicom import volume as dicom
from medseg.readers.itk import segments as slicer
from medseg.readers.itk import volume as itk
from medseg.readers.nifti import volume as nifti
from medseg.readers.nifti.forms import MissingForm
from medseg.readers.segments import combine, unique_names
from medseg.readers.values import NonFinite
from medseg.volume import LabelMap, Origin, Volume

#: The largest label a table can name.
_MOST_LABEL = 65535

#: How far from a whole number a label may be: several float32 roundings; a probability is not.
_OFF = 1e-4
#: The same for large labels, as a share of them.
_FLOAT32 = 2.0**-22
#: A 16-bit file scaled by a float32 slope misses its whole numbers by a little more.
_SCALED_OFF = 0.01


def read_labels(
    path: str | Path,
    *,
    volume: int | None = None,
    labels: LabelTable | None = None,
    grid: Geometry | None = None,
) -> LabelMap:
    """Read a mask from NIfTI, NRRD, MetaImage, DICOM SEG or RTSTRUCT.

    Floating point files are fine as long as every voxel is a whole number but for float32
    rounding. A mask without sform and qform keeps its voxel sizes; whether it lies on its scan is
    checked where both are at hand. The names in a 3D Slicer segmentation come with it; where its
    segments lie in several layers, they become one, and overlaps are refused.

    Args:
        path: the file.
        volume: which volume of a file that holds several.
        labels: what is looked for, in files whose structures may overlap.
        grid: of the image, for files that have none of their own or show a part of it; see
            `needs_image`.

    Raises:
        BadLabels: a voxel is negative, fractional, not finite or beyond 65535, or segments
            overlap.
        BadScan: the file is damaged, ambiguous or of an unknown format.
        NotAVolume: the file holds no single number a voxel.
    """
    source = Path(path)
    if needs_image(source):
        from medseg.readers.dicom import structures  # contours take their time to load

        return structures.read(source, grid, labels)
    if not itk.recognises(source):
        scan = nifti.read(
            source, volume=volume, missing_form=MissingForm.SPACING, nonfinite=NonFinite.KEEP
        )
        return _labelmap(scan, source, None)
    named = _slicer_segments(source)
    if len({one.layer for one in named}) > 1:
        segments, geometry = slicer.read_layers(source, named)
        data, table, remarks = combine(segments, labels, path=source)
        return LabelMap(data, geometry, table, Origin(path=str(path), warnings=remarks))
    scan = itk.read(source, volume=volume, nonfinite=NonFinite.KEEP)
    return _labelmap(scan, source, _table(named, source) if named else None)


def needs_image(path: Path) -> bool:
    """Whether a mask is a DICOM object, which is read on the grid of its image."""
    return path.is_file() and dicom.recognises(path)


def contour_names(path: Path) -> tuple[str, ...]:
    """The structures of an RTSTRUCT, which has no voxels of its own; empty for other files.

    Raises:
        BadScan: the file is damaged.
    """
    from medseg.readers.dicom import structures

    return structures.contour_names(path)


def segment_names(path: Path) -> tuple[str, ...]:
    """The segments that a 3D Slicer segmentation names, each once; empty for other files.

    Raises:
        BadScan: the header is corrupt, or the file cannot be read.
    """
    if not itk.recognises(path):
        return ()
    names = unique_names([one.name for one in _slicer_segments(path) if one.value > 0])
    return tuple(names)


def _slicer_segments(path: Path) -> tuple[slicer.SlicerSegment, ...]:
    try:
        return slicer.segments(path)
    except OSError as error:
        raise BadScan("the file cannot be read", path=path, found=error.strerror) from None


def _labelmap(scan: Volume, path: Path, table: LabelTable | None) -> LabelMap:
    values = whole_numbers(scan.data[0], scan.slope, scan.intercept, path=path)
    return LabelMap(values, scan.geometry, table, origin=scan.origin)


def _table(named: tuple[slicer.SlicerSegment, ...], path: Path) -> LabelTable | None:
    """The names of one layer; segments of one name are numbered and keep it as an alias."""
    held = [one for one in named if one.value > 0]
    if not held:
        return None
    entries = {
        name: {"value": one.value, "colour": one.colour, "aliases": [one.name]}
        for name, one in zip(unique_names([one.name for one in held]), held, strict=True)
    }
    try:
        return LabelTable.from_card({"labels": entries})
    except BadLabels as error:
        raise error.about(str(path)) from None


def whole_numbers(
    data: NDArray[Any], slope: float, intercept: float, *, path: Path
) -> NDArray[np.unsignedinteger[Any]]:
    """The same voxels in the smallest unsigned type, whatever type and scaling stored them.

    Raises:
        BadLabels: a value is no whole number from 0 to 65535; says the values and how many.
    """
    scaled = (slope, intercept) != (1.0, 0.0)
    if data.dtype.kind == "f" or scaled:
        values = data.astype(np.float64) * slope + intercept
        with np.errstate(invalid="ignore"):
            apart = np.abs(values - np.rint(values))
            whole = apart <= (
                _SCALED_OFF if scaled else np.maximum(_OFF, _FLOAT32 * np.abs(values))
            )
        _refuse(
            values,
            ~whole,
            path,
            "voxels that are no whole numbers",
            "integers; is this a scan or a probability?",
        )
        data = np.rint(values)
    if data.min() < 0:
        _refuse(data, data < 0, path, "negative voxels", "0 for background, labels from 1 up")
    if data.max() > _MOST_LABEL:
        _refuse(
            data,
            data > _MOST_LABEL,
            path,
            "voxels too large for a label",
            f"at most {_MOST_LABEL}; is this a scan?",
        )
    return data.astype(np.min_scalar_type(int(data.max())))


def _refuse(
    values: NDArray[Any], wrong: NDArray[np.bool_], path: Path, what: str, expected: str
) -> None:
    count = int(wrong.sum())
    if count == 0:
        return
    examples = ", ".join(f"{value:g}" for value in np.unique(values[wrong])[:5])
    raise BadLabels(
        f"a mask with {what}",
        path=path,
        expected=expected,
        found=f"{count} of them (values {examples})",
        remedy="Correct the mask at its source, or remap the value in the card.",
    )
