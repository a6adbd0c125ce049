"""How a mask file becomes a LabelMap: whole numbers from 0 up, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadLabels
from medseg.readers.itk import volume as itk
from medseg.readers.nifti import volume as nifti
from medseg.readers.nifti.forms import MissingForm
from medseg.readers.values import NonFinite
from medseg.volume import LabelMap

#: The largest label a table can name.
_MOST_LABEL = 65535


def read_labels(path: str | Path, *, volume: int | None = None) -> LabelMap:
    """Read a mask from NIfTI, NRRD or MetaImage, of any stored type.

    Floating point files are fine as long as every voxel is a whole number. A mask without
    sform and qform keeps its voxel sizes; whether it lies on its scan is checked where both
    are at hand.

    Raises:
        BadLabels: a voxel is negative, fractional, not finite or beyond 65535.
        BadScan: the file is damaged, ambiguous or of an unknown format.
        NotAVolume: the file holds no single number a voxel.
    """
    source = Path(path)
    if itk.recognises(source):
        scan = itk.read(source, volume=volume, nonfinite=NonFinite.KEEP)
    else:
        scan = nifti.read(
            source, volume=volume, missing_form=MissingForm.SPACING, nonfinite=NonFinite.KEEP
        )
    values = whole_numbers(scan.data[0], scan.slope, scan.intercept, path=source)
    return LabelMap(values, scan.geometry, origin=scan.origin)


def whole_numbers(
    data: NDArray[Any], slope: float, intercept: float, *, path: Path
) -> NDArray[np.unsignedinteger[Any]]:
    """The same voxels in the smallest unsigned type, whatever type and scaling stored them.

    Raises:
        BadLabels: a value is no whole number from 0 to 65535; tells the values and how many.
    """
    scaled = (slope, intercept) != (1.0, 0.0)
    if data.dtype.kind == "f" or scaled:
        values = data.astype(np.float64) * slope + intercept
        # A 16-bit file scaled by a float32 slope misses its whole numbers by a little.
        with np.errstate(invalid="ignore"):
            whole = np.abs(values - np.rint(values)) <= (0.01 if scaled else 0)
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
