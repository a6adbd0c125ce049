"""Masks as DICOM Label Map Segmentations: one number a voxel, overlaps impossible."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.volume import LabelMap
from medseg.writers.dicom_seg import ENDING, Kind, check, write_kind

__all__ = ["ENDING", "check", "write"]


def write(
    labelmap: LabelMap, path: Path, source: Sequence[str | Path] | None = None
) -> tuple[str, ...]:
    """Write a mask as a label map; everything else is as in `medseg.writers.dicom_seg.write`.

    Segment numbers are the table's values. RLE-compressed without loss.
    """
    return write_kind(labelmap, path, source, kind=Kind.LABELMAP)
