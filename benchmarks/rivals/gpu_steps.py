"""What ``medseg train`` does in a second on a device: on noise, and on a real cohort."""

from __future__ import annotations

import csv
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
import yaml

from medseg.cli import run
from medseg.config import TrainConfig, load_yaml, override, validate
from medseg.manifests import load_cohort
from medseg.model import load_model
from medseg.training.pace import measure_steps

#: Timed.
STEPS = 40


def medseg_steps(
    place: Path,
    device: str,
    patch: Sequence[int],
    batch: int,
    features: Sequence[int],
    changes: Sequence[str],
) -> dict[str, Any]:
    """Steps on four noisy scans, after those in which kernels are chosen and compiled."""
    path = place / "config.yaml"
    if not path.is_file():
        write_cohort(place, patch, batch, features)
    config = validate(TrainConfig, override(load_yaml(path), list(changes)))
    cohort = load_cohort(place / config.cohort)
    cost = measure_steps(config, cohort, place / "cache", torch.device(device), steps=STEPS)
    return {
        "tool": "medseg",
        "changes": " ".join(changes),
        "steps_a_second": round(1 / cost.seconds_a_step, 2),
        "device_gb": round(cost.peak_bytes / 1e9, 2),
        "data_wait": round(cost.data_wait, 4),
        "parts": cost.parts,
    }


def write_cohort(place: Path, patch: Sequence[int], batch: int, features: Sequence[int]) -> Path:
    """Four noisy scans, a quarter larger than the patch, with three labels; and a config."""
    (place / "images").mkdir(parents=True)
    (place / "labels").mkdir()
    rng = np.random.default_rng(1)
    shape = tuple(n * 5 // 4 for n in patch)
    rows = []
    for number in range(4):
        name = f"{number}.nii.gz"
        truth = np.zeros(shape, np.uint8)
        for value in (1, 2, 3):
            centre = [int(rng.integers(n // 4, 3 * n // 4)) for n in shape]
            box = [slice(c - n // 8, c + n // 8) for c, n in zip(centre, shape, strict=True)]
            truth[tuple(box)] = value
        noise = rng.normal(0, 100, shape) + 200 * truth
        nib.save(nib.Nifti1Image(noise.astype(np.int16), np.eye(4)), place / "images" / name)
        nib.save(nib.Nifti1Image(truth, np.eye(4)), place / "labels" / name)
        rows.append([f"c{number}", f"p{number}", f"images/{name}", f"labels/{name}", "train"])
    with (place / "cohort.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "patient", "image", "label", "split"])
        writer.writerows(rows)
    labels = {f"label {n}": {"value": n} for n in (1, 2, 3)}
    card = {
        "name": "noise",
        "modality": "MR",
        "channels": ["image"],
        "labels": labels,
        "table": "cohort.csv",
    }
    (place / "cohort.yaml").write_text(yaml.safe_dump(card))
    config = {
        "cohort": "cohort.yaml",
        "dims": 3,
        "patch": list(patch),
        "network": {
            "name": "unet",
            "options": {
                "features": list(features),
                "shrink": "strided_conv",
                "deep_supervision": True,
            },
        },
        "training": {"steps": STEPS, "batch": batch, "validations": 0},
    }
    path = place / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def trained_cohort(
    place: Path, card: Path, root: Path, device: str, *, minutes: float
) -> dict[str, Any]:
    """Plan, train for some minutes, segment the test rows and score them."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    plan, there = place / "plan.yaml", ("--root", root)
    row: dict[str, Any] = {"tool": "medseg"}
    verbs = {
        "plan": (card, *there, "--minutes", minutes, "--device", device, "--output", plan),
        "train": (plan, *there, "--device", device, "--output", place / "run", "--quiet"),
        "segment": (
            place / "run" / "model",
            card,
            "--split",
            "test",
            *there,
            "--device",
            device,
            "--output",
            place / "masks",
            "--quiet",
        ),
        "evaluate": (
            place / "masks",
            card,
            "--split",
            "test",
            *there,
            "--output",
            place / "evaluation",
            "--quiet",
        ),
    }
    for verb, words in verbs.items():
        began = time.monotonic()
        code = run(verb, *words)
        row[f"{verb}_seconds"] = round(time.monotonic() - began, 1)
        if code:
            return row | {"failed": f"{verb}: exit code {code}"}
    source = load_model(place / "run" / "model").card.provenance
    row["steps"] = source.steps
    if source.pace is not None:
        row["steps_a_second"] = round(1 / source.pace.seconds_a_step, 3)
        row["data_wait"] = round(source.pace.data_wait, 4)
    with (place / "evaluation" / "summary.csv").open(newline="") as file:
        scores = [line for line in csv.DictReader(file) if line.get("metric") == "dice"]
    return row | {line["label"]: line.get("mean", "") for line in scores}
