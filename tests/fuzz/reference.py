"""What other libraries make of a damaged file: the yardstick for what medseg accepts.

Geometry by the standard from pydicom's reading of each file, nibabel's affine, SimpleITK's
direction and spacing. ``None`` where the library refuses.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import SimpleITK

Reading = tuple[tuple[int, ...], np.ndarray]
_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
#: Whatever the others raise means that they refuse.
_REFUSALS = (Exception,)


def of_dicom(paths: list[str]) -> Reading | None:
    """Shape and RAS affine of a stack of classic or enhanced files, as pydicom reads them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frames = [frame for path in paths for frame in _frames(path)]
            row, column = (np.array(frames[0][1][i : i + 3], float) for i in (0, 3))
            row, column = row / np.linalg.norm(row), column / np.linalg.norm(column)
            places = np.array([frame[0] for frame in frames], float)
            order = np.argsort(places @ np.cross(row, column), kind="stable")
            first, last = places[order[0]], places[order[-1]]
            affine = np.eye(4)
            affine[:3, 0], affine[:3, 1] = row * frames[0][2][1], column * frames[0][2][0]
            affine[:3, 3] = first
            affine[:3, 2] = (
                (last - first) / (len(frames) - 1)
                if len(frames) > 1
                else np.cross(row, column) * frames[0][4]
            )
            return (frames[0][3][1], frames[0][3][0], len(frames)), _RAS @ affine
    except _REFUSALS:
        return None


def _frames(path: str) -> list[tuple]:
    dataset = pydicom.dcmread(path, force=True)
    size = int(dataset.Rows), int(dataset.Columns)
    if "PerFrameFunctionalGroupsSequence" not in dataset:
        return [
            (
                dataset.ImagePositionPatient,
                dataset.ImageOrientationPatient,
                [float(mm) for mm in dataset.PixelSpacing],
                size,
                float(dataset.get("SliceThickness") or 0),
            )
        ]
    shared = dataset.SharedFunctionalGroupsSequence[0]
    found = []
    for item in dataset.PerFrameFunctionalGroupsSequence:

        def group(name: str, item: pydicom.Dataset = item) -> pydicom.Dataset:
            return (item if name in item else shared)[name][0]

        measures = group("PixelMeasuresSequence")
        found.append(
            (
                group("PlanePositionSequence").ImagePositionPatient,
                group("PlaneOrientationSequence").ImageOrientationPatient,
                [float(mm) for mm in measures.PixelSpacing],
                size,
                float(measures.get("SliceThickness") or 0),
            )
        )
    return found


def of_nifti(path: Path) -> Reading | None:
    """Shape and affine as nibabel reads them."""
    try:
        image = nibabel.load(path)
        return tuple(image.shape[:3]), np.asarray(image.affine, float)
    except _REFUSALS:
        return None


def of_itk(path: Path) -> Reading | None:
    """Shape and RAS affine as SimpleITK reads them."""
    try:
        reader = SimpleITK.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        affine = np.eye(4)
        direction = np.array(reader.GetDirection()).reshape(3, 3)
        affine[:3, :3] = direction * np.array(reader.GetSpacing())
        affine[:3, 3] = reader.GetOrigin()
        return tuple(reader.GetSize()), _RAS @ affine
    except _REFUSALS:
        return None
