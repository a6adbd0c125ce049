"""Write masks and scans: one table of formats.

A writer is a module with ``ENDING``, ``check(geometry, origin, labels)``, which refuses what the
format cannot hold before any work is done, and ``write(labelmap, path, source)``, which returns
what the user should know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from medseg.errors import BadOutput
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.volume import LabelMap, Origin
from medseg.writers.nifti import write_volume

__all__ = [
    "WRITERS",
    "Writer",
    "check_format",
    "check_source",
    "ending",
    "write_labels",
    "write_volume",
]


@dataclass(frozen=True, kw_only=True)
class Writer:
    """One format of masks.

    Attributes:
        module: imported when used, for highdicom takes its time.
        about: for ``--help`` and messages.
    """

    module: str
    about: str


#: ``--format`` name -> writer.
WRITERS: dict[str, Writer] = {
    "nifti": Writer(module="medseg.writers.nifti", about="NIfTI, the twin of the scan"),
    "nrrd": Writer(module="medseg.writers.nrrd", about="NRRD"),
    "slicer": Writer(
        module="medseg.writers.seg_nrrd", about="3D Slicer segmentation with names and colours"
    ),
    "mha": Writer(module="medseg.writers.metaimage", about="MetaImage"),
    "dicom-seg": Writer(
        module="medseg.writers.dicom_seg", about="DICOM Segmentation, one bit a voxel"
    ),
    "dicom-labelmap": Writer(
        module="medseg.writers.dicom_labelmap", about="DICOM Segmentation, one number a voxel"
    ),
    "rtstruct": Writer(module="medseg.writers.rtstruct", about="DICOM RT Structure Set, contours"),
}


def check_format(format: str) -> None:  # noqa: A002
    """Refuse a format that does not exist.

    Raises:
        BadOutput: the format is not in `WRITERS`.
    """
    if format not in WRITERS:
        raise BadOutput("unknown format", found=repr(format), expected=", ".join(WRITERS))


def check_source(
    geometry: Geometry,
    origin: Origin,
    *,
    format: str,  # noqa: A002
    labels: LabelTable | None = None,
) -> None:
    """Refuse a scan whose mask the format could not hold, before there is a mask.

    Args:
        geometry: the scan's grid.
        origin: the scan's origin.
        format: a name from `WRITERS`.
        labels: what the mask's integers are going to mean.

    Raises:
        BadOutput: an unknown format, a sheared grid that it cannot say, or no DICOM source for
            an object that must refer to one.
        BadLabels: the table does not fit into the format.
    """
    _module(format).check(geometry, origin, labels)


def write_labels(
    labelmap: LabelMap,
    path: Path,
    *,
    format: str = "nifti",  # noqa: A002
    source: Sequence[str | Path] | None = None,
) -> tuple[str, ...]:
    """Write a mask on its scan's grid.

    Args:
        labelmap: the mask; its origin says what the scan's header held.
        path: the file to appear, whole or not at all; see `ending`.
        format: a name from `WRITERS`.
        source: for DICOM objects: the scan's DICOM files, where the mask's origin does not
            know them.

    Returns:
        What the user should know; no patient data.

    Raises:
        BadOutput: an unknown format, or the file cannot be written.
    """
    warnings: tuple[str, ...] = _module(format).write(labelmap, Path(path), source)
    return warnings


def ending(format: str) -> str:  # noqa: A002
    """The ending of file names in a format, such as ``.nii.gz``."""
    return str(_module(format).ENDING)


def _module(name: str) -> Any:
    check_format(name)
    return import_module(WRITERS[name].module)
