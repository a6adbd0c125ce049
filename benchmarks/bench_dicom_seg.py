"""Compares DICOM SEGs of real series with the NIfTI mask, as highdicom and dcmqi read them.

    PYTHONPATH=. python benchmarks/bench_dicom_seg.py SCANS [--dcmqi FOLDER_OF_PROGRAMS]

SCANS is any folder of DICOM series. A made-up mask (quantiles of the scan) is written in both
formats for each; every labelled voxel is then compared in world space.
"""

import argparse
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np

from medseg.errors import MedsegError
from medseg.labels import LabelTable
from medseg.scans import discover
from medseg.volume import LabelMap, Volume
from medseg.writers import write_labels
from tests.writers.test_dicom_seg import LPS_TO_RAS, assert_same_voxels

TABLE = LabelTable.from_card({"labels": {"some": 1, "more left": 2, "most": 9}})


def made_up_mask(volume: Volume) -> LabelMap:
    values = volume.values()[0]
    data = np.zeros(values.shape, np.uint8)
    for value, share in zip(TABLE.values, (0.6, 0.8, 0.95), strict=True):
        data[values > np.quantile(values, share)] = value
    return LabelMap(data, volume.geometry, TABLE, volume.origin)


def by_highdicom(folder: Path) -> None:
    volume = highdicom.seg.segread(folder / "m.dcm").get_volume(
        combine_segments=True, allow_missing_positions=True
    )
    assert_same_voxels(volume.array, LPS_TO_RAS @ volume.affine, folder / "m.nii.gz", TABLE)


def by_dcmqi(folder: Path, program: str) -> None:
    command = [
        program,
        "--inputDICOM",
        folder / "m.dcm",
        "--outputDirectory",
        folder,
        "--outputType",
        "nii",
        "--mergeSegments",
    ]
    subprocess.run(command, capture_output=True, check=True)
    image = nib.load(folder / "1.nii.gz")
    assert_same_voxels(np.asarray(image.dataobj), image.affine, folder / "m.nii.gz", TABLE)


def outcome(check, *arguments) -> str:
    try:
        check(*arguments)
    except (AssertionError, RuntimeError, ValueError, subprocess.CalledProcessError) as error:
        return f"DIFFERS ({type(error).__name__})"
    return "equal"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scans", type=Path)
    parser.add_argument("--dcmqi", help="where segimage2itkimage is, if not on the path")
    options = parser.parse_args()
    program = shutil.which("segimage2itkimage", path=options.dcmqi)
    for scan in discover(options.scans):
        if scan.status != "usable" or not scan.modality:
            continue
        with tempfile.TemporaryDirectory() as name:
            folder, start = Path(name), time.perf_counter()
            try:
                mask = made_up_mask(scan.read())
                write_labels(mask, folder / "m.nii.gz")
                write_labels(mask, folder / "m.dcm", format="dicom-seg")
            except MedsegError as error:
                print(f"{scan.source}: refused: {error.problem}")
                continue
            seconds = time.perf_counter() - start
            dcmqi = outcome(by_dcmqi, folder, program) if program else "not installed"
            print(
                f"{scan.source}: {mask.geometry.describe()}: highdicom "
                f"{outcome(by_highdicom, folder)}, dcmqi {dcmqi}, {seconds:.1f} s"
            )


if __name__ == "__main__":
    main()
