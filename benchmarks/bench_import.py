"""Compares masks and cost of an imported nnU-Net with those of nnU-Net itself.

    .venv/bin/python benchmarks/bench_import.py RIVAL/bin/python DATA --work FOLDER [--only full]

FOLDER is the one in which ``rival_models.py train`` left its models. Each model is imported and
both tools segment the same scans, one tool at a time, each from its command's start to its end:
hippocampus crops that no model was trained on, and three of them made otherwise (slices 4 mm
apart, an oblique grid of 0.8 mm, a frame of zeros). For each model it prints the share of
foreground voxels (foreground to either) that are equal, over all scans and in the worst one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

import nibabel
import numpy as np
from rivals.watch import TUNED, Watched, watched
from scipy import ndimage

from medseg.model_import import import_model

#: Plain scans, after those that were trained on.
FIRST, COUNT = 60, 7

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Import, segment with both, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rival", type=Path, help="Python of nnU-Net's environment")
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only")
    arguments = parser.parse_args()
    print("model     equal     worst     nnU-Net          medseg")
    for trained in sorted((arguments.work / "results").glob("Dataset*/*")):
        name = trained.parent.name.partition("_")[2]
        if arguments.only in (None, name) and list(trained.glob("fold_*/checkpoint_final.pth")):
            print(name.ljust(9), compare(trained, name, arguments), flush=True)


def compare(trained: Path, name: str, arguments: argparse.Namespace) -> str:
    """One line about one model."""
    place = arguments.work / "compared" / name
    shutil.rmtree(place, ignore_errors=True)
    imported = import_model("nnunet", trained, place / "model").model
    images = make_scans(arguments.data, place / "images", len(imported.card.channels))
    theirs = watched(
        [
            str(arguments.rival),
            str(HERE / "rival_models.py"),
            "predict",
            str(trained),
            str(images),
            str(place / "theirs"),
        ],
        {**TUNED, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2")},
    )
    ours = watched(
        [
            sys.executable,
            "-m",
            "medseg",
            "segment",
            str(place / "model"),
            str(images),
            "--output",
            str(place / "ours"),
            "--device",
            "cpu",
            "--quiet",
        ],
        {},
    )
    for run in (theirs, ours):
        if run.code:
            raise SystemExit(run.said)
    every, worst = agreement(place / "ours", place / "theirs")
    return f"{every:.5f}   {worst:.5f}   {cost(theirs)}   {cost(ours)}"


def cost(run: Watched) -> str:
    """Seconds and peak memory."""
    return f"{run.seconds:5.1f} s {run.own_mb:6.0f} MB"


def agreement(ours: Path, theirs: Path) -> tuple[float, float]:
    """Share of foreground voxels that are equal: over all scans, and in the worst."""
    shares, equal, voxels = [], 0, 0
    for path in sorted(theirs.glob("*.nii.gz")):
        case = path.name.removesuffix(".nii.gz")
        (own,) = ours.glob(f"{case}*.nii.gz")
        a, b = (np.asarray(nibabel.load(p).dataobj) for p in (path, own))
        seen = (a > 0) | (b > 0)
        same = int((a == b)[seen].sum())
        equal, voxels = equal + same, voxels + int(seen.sum())
        shares.append(same / max(1, int(seen.sum())))
        print(f"  {case}: {shares[-1]:.5f} of {int(seen.sum())}", file=sys.stderr)
    return equal / voxels, min(shares)


def make_scans(data: Path, folder: Path, channels: int) -> Path:
    """Scans under nnU-Net's names; a second channel is the first one made smooth."""
    folder.mkdir(parents=True)
    paths = sorted((data / "images").glob("*.nii.gz"))[FIRST : FIRST + COUNT + 3]
    for number, path in enumerate(paths):
        scan = nibabel.load(path)
        values, affine = scan.get_fdata(dtype=np.float32), scan.affine
        if number == COUNT:
            values = ndimage.zoom(values, (1, 1, 0.25), order=1, grid_mode=True, mode="nearest")
            affine = affine @ np.diag([1, 1, scan.shape[2] / values.shape[2], 1])
        elif number == COUNT + 1:
            values, affine = oblique(values, affine)
        elif number == COUNT + 2:
            values = np.pad(values, [(7, 3), (0, 9), (4, 4)])
        for channel in range(channels):
            smooth = values if channel == 0 else ndimage.gaussian_filter(values, 1.4)
            image = nibabel.Nifti1Image(smooth, affine)
            image.set_sform(affine, 1)
            image.set_qform(affine, 1)
            nibabel.save(image, folder / f"{path.name.removesuffix('.nii.gz')}_{channel:04}.nii.gz")
    return folder


def oblique(values: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same scan on a finer grid that is turned by 20 and 35 degrees."""
    fine = ndimage.zoom(values, 1.25, order=1, grid_mode=True, mode="nearest")
    a, b = np.radians([20, 35])
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    )
    turned = np.eye(4)
    turned[:3, :3] = turn @ np.diag([0.8, 0.8, 0.8])
    turned[:3, 3] = affine[:3, 3]
    return fine, turned


if __name__ == "__main__":
    main()
