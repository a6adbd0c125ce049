"""RTSTRUCTs as masks, and masks as RTSTRUCTs, beside other people's readers.

    PYTHONPATH=. python benchmarks/bench_rtstruct.py SARCOMA [--rivals PYTHON]

SARCOMA holds ``dicom/PATIENT/SERIES/{image,mask}`` and a third party's masks in
``nifti/PATIENT/SERIES_mask.nii.gz``. For each series: Dice of our voxels of the published contours
with the third party's; Dice of our own RTSTRUCT of that mask read back by us and, where PYTHON has
rt-utils, dcmrtstruct2nii and platipy, by them; and what ``dciodvfy`` calls an error.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.labels import LabelTable
from medseg.readers.labels import read_labels
from medseg.scans import read
from medseg.volume import LabelMap
from medseg.writers import write_labels

TABLE = LabelTable.from_card({"labels": {"GTV": {"value": 1, "aliases": ["GTV*"]}}})
RIVALS = ("rt_utils", "dcmrtstruct2nii", "platipy")


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def third_party(path: Path, like: LabelMap) -> NDArray[np.bool_]:
    """A NIfTI mask on another axis order, at our voxel centres."""
    mask = read_labels(path)
    index = np.stack(np.meshgrid(*map(np.arange, like.geometry.shape), indexing="ij"), axis=-1)
    there = np.rint(mask.geometry.to_index(like.geometry.to_world(index))).astype(int)
    inside = ((there >= 0) & (there < mask.data.shape)).all(axis=-1)
    found = np.zeros(like.data.shape, bool)
    found[inside] = mask.data[tuple(there[inside].T)] > 0
    return found


def by_rival(python: str, rival: str, series: Path, structures: Path, folder: Path) -> float:
    """Dice of our mask with what a rival reads, whichever way its array is turned."""
    target = folder / f"{rival}.npy"
    program = Path(__file__).parent / "rivals" / "rtstruct_readers.py"
    subprocess.run(
        [python, program, rival, series, structures, target], capture_output=True, check=True
    )
    found = np.load(target) > 0
    grid = read(series).geometry
    own = read_labels(structures, labels=TABLE, grid=grid).data > 0
    best = 0.0
    for turned in (found, found.transpose(1, 0, 2)):
        for flipped in (turned, turned[:, :, ::-1]):
            whole = np.zeros_like(own)
            box = tuple(slice(0, min(pair)) for pair in zip(own.shape, flipped.shape, strict=True))
            whole[box] = flipped[box]
            best = max(best, dice(own, whole) if whole.sum() == flipped.sum() else 0.0)
    return best


def errors_of(path: Path) -> int | str:
    if shutil.which("dciodvfy") is None:
        return "?"
    told = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False).stderr
    return sum(line.startswith("Error") for line in told.splitlines())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sarcoma", type=Path)
    parser.add_argument("--rivals", metavar="PYTHON")
    options = parser.parse_args()
    rivals = RIVALS if options.rivals else ()
    print("| case | voxels | third party | own RTSTRUCT |", *(f"{r} |" for r in rivals), "errors |")
    for image in sorted(options.sarcoma.glob("dicom/*/*/image")):
        patient, series = image.parts[-3:-1]
        scan = read(image)
        drawn = next(path for path in (image.parent / "mask").rglob("*") if path.is_file())
        mask = read_labels(drawn, labels=TABLE, grid=scan.geometry)
        mask = LabelMap(mask.data, scan.geometry, TABLE, scan.origin)
        nifti = options.sarcoma / "nifti" / patient / f"{series}_mask.nii.gz"
        with tempfile.TemporaryDirectory() as name:
            structures = Path(name) / "mask.dcm"
            write_labels(mask, structures, format="rtstruct")
            back = read_labels(structures, labels=TABLE, grid=scan.geometry)
            figures = [dice(mask.data > 0, third_party(nifti, mask))]
            figures.append(dice(mask.data > 0, back.data > 0))
            figures += [
                by_rival(options.rivals, rival, image, structures, Path(name)) for rival in rivals
            ]
            row = [f"{figure:.4f}" for figure in figures]
            print("|", " | ".join([f"{patient} {series}", str(int(mask.data.sum())), *row]), end="")
            print(f" | {errors_of(structures)} |", flush=True)


if __name__ == "__main__":
    main()
