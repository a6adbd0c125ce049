"""Which file formats a mask can be written to: one literal table.

A writer is a module with ``ENDING`` and ``write(labelmap, path, source)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from medseg.errors import BadOutput
from medseg.volume import LabelMap
from medseg.writers.nifti import write_volume

__all__ = ["WRITERS", "ending", "write_labels", "write_volume"]

#: ``--format`` name -> module; imported when used, for highdicom takes its time.
WRITERS: dict[str, str] = {
    "nifti": "medseg.writers.nifti",
    "nrrd": "medseg.writers.nrrd",
    "mha": "medseg.writers.metaimage",
    "dicom-seg": "medseg.writers.dicom_seg",
}


def write_labels(
    labelmap: LabelMap,
    path: Path,
    *,
    format: str = "nifti",  # noqa: A002
    source: Sequence[str | Path] | None = None,
) -> None:
    """Write a mask on its scan's grid.

    Args:
        labelmap: the mask; its origin says what the scan's header held.
        path: the file to appear, whole or not at all; see `ending`.
        format: a name from `WRITERS`.
        source: for ``dicom-seg``: the scan's DICOM files, where the mask's origin does not
            know them.

    Raises:
        BadOutput: an unknown format, or the file cannot be written.
    """
    _module(format).write(labelmap, Path(path), source)


def ending(format: str) -> str:  # noqa: A002
    """The ending of file names in a format, such as ``.nii.gz``."""
    return str(_module(format).ENDING)


def _module(name: str) -> Any:
    if name not in WRITERS:
        raise BadOutput("unknown format", found=repr(name), expected=", ".join(WRITERS))
    return import_module(WRITERS[name])
