"""A structure called GTV as other people's readers see it. Runs where they are installed.

    python benchmarks/rivals/rtstruct_readers.py READER SERIES RTSTRUCT TARGET.npy

READER is rt_utils, dcmrtstruct2nii or platipy. Writes the mask as an array.
Needs nothing of medseg.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pydicom

NAME = "GTV"

pydicom.read_file = pydicom.dcmread  # its name in the pydicom that two of them were written for


def by_rt_utils(series: str, structures: str) -> np.ndarray:
    from rt_utils import RTStructBuilder

    made = RTStructBuilder.create_from(dicom_series_path=series, rt_struct_path=structures)
    return made.get_roi_mask_by_name(NAME).transpose(1, 0, 2)


def by_dcmrtstruct2nii(series: str, structures: str) -> np.ndarray:
    from dcmrtstruct2nii import dcmrtstruct2nii

    with tempfile.TemporaryDirectory() as folder:
        dcmrtstruct2nii(
            structures, series, folder, mask_foreground_value=1, convert_original_dicom=False
        )
        return array_of(folder, "mask")


def by_platipy(series: str, structures: str) -> np.ndarray:
    from platipy.dicom.io.rtstruct_to_nifti import convert_rtstruct

    with tempfile.TemporaryDirectory() as folder:
        convert_rtstruct(series, structures, output_dir=folder, prefix="")
        return array_of(folder, NAME)


def array_of(folder: str, word: str) -> np.ndarray:
    import SimpleITK

    path = next(path for path in Path(folder).iterdir() if word in path.name)
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).transpose(2, 1, 0)


READERS = {
    "rt_utils": by_rt_utils,
    "dcmrtstruct2nii": by_dcmrtstruct2nii,
    "platipy": by_platipy,
}

if __name__ == "__main__":
    reader, series, structures, target = sys.argv[1:]
    np.save(target, READERS[reader](series, structures))
