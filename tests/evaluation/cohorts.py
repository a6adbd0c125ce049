"""A small cohort on disk with known masks, and predictions that differ from them as told."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import yaml

from medseg.manifests import Cohort, load_cohort
from tests.metrics.shapes import ball

SHAPE = (24, 22, 18)
LABELS = {"liver": 1, "spleen": 4}
AFFINE = np.array([[-1.5, 0, 0, 20], [0, 1.5, 0, -30], [0, 0, 2.0, 5], [0, 0, 0, 1]])


def truth_of(number: int) -> np.ndarray:
    """Two balls that differ from case to case."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[ball(SHAPE, (7 + number % 3, 8, 8), 4 + number % 2)] = LABELS["liver"]
    mask[ball(SHAPE, (17, 14, 9 + number % 2), 3)] = LABELS["spleen"]
    return mask


def save(array, path: Path, affine=AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(array, affine).to_filename(path)


def make_cohort(folder: Path, cases: int = 8, *, extra: dict | None = None) -> Cohort:
    """Cases c0, c1 …: test rows, two of each patient; the last four are train rows in 2 folds."""
    random = np.random.default_rng(3)
    lines = ["case,patient,split,fold,image,label,sex"]
    for number in range(cases + 4):
        name = f"c{number}"
        scan = random.integers(0, 900, SHAPE).astype(np.int16)
        save(scan + (truth_of(number) * 100).astype(np.int16), folder / f"images/{name}.nii.gz")
        save(truth_of(number), folder / f"labels/{name}.nii.gz")
        train = number >= cases
        split = f"train,{number // 2 % 2}" if train else "test,"
        lines.append(
            f"{name},p{number // 2},{split},images/{name}.nii.gz,"
            f"labels/{name}.nii.gz,{'FM'[number % 2]}"
        )
    (folder / "cohort.csv").write_text("\n".join(lines) + "\n")
    card = {
        "name": "small",
        "modality": "CT",
        "channels": ["CT"],
        "labels": LABELS,
        "table": "cohort.csv",
        "root": ".",
        **(extra or {}),
    }
    (folder / "cohort.yaml").write_text(yaml.safe_dump(card))
    return load_cohort(folder / "cohort.yaml")


def predict(
    cohort: Cohort,
    folder: Path,
    change=lambda mask: mask,
    *,
    split="test",
    labels=LABELS,
    run: dict | None = None,
) -> Path:
    """Write changed truths as predictions, with ``labels.yaml`` and ``run.yaml``."""
    for case in cohort.select(split=split).cases:
        save(change(truth_of(int(case.case[1:]))), folder / f"{case.case}.nii.gz")
    (folder / "labels.yaml").write_text(yaml.safe_dump({"labels": labels}))
    (folder / "run.yaml").write_text(yaml.safe_dump({"model": "unet", **(run or {})}))
    return folder


def shifted(mask):
    """Moved by one voxel along the first axis."""
    return np.roll(mask, 1, axis=0)
