"""nnU-Net trained in the same time on the same cases; runs in its own environment.

    python3.11 -m venv RIVAL
    RIVAL/bin/pip install torch==2.13.0 nnunetv2==2.8.1
    RIVAL/bin/pip uninstall -y torchvision        # it does not load beside torch for CPUs
    RIVAL/bin/python benchmarks/rival_training.py data_manifests/hippocampus.yaml \
        --root DATA --work FOLDER --minutes 10
    … --iterations 100 | --iterations 350 --batch 2 | --cases 6 (rows of each kind, for a trial)

It learns from the train rows of a cohort and is scored on its test rows. Planning and preprocessing
are nnU-Net's own and come first, outside the time; the plan is its `3d_fullres`, fold `all`, its
optimiser and augmentation; only the length of its schedule is another: so many iterations, or as
many as fit the minutes by the speed of the first ones. The allocator is set as medseg sets it,
which makes nnU-Net's step 1.6 times as fast here. Masks are predicted with its mirrors.

Measured on 2 cores without GPU, hippocampus (160 train rows, patch 40×56×40, batch 7 unless said),
Dice of anterior / posterior: 100 iterations (about 10 minutes) 0 / 0; 350 iterations at batch 2
(9 minutes) 0.58 / 0; 300 iterations (30 minutes) 0.30 / 0.61. Needs nothing of medseg.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sys
import time
from pathlib import Path

DATASET = "Dataset004_Rival"
CONFIGURATION, PLANS = "3d_fullres", "nnUNetPlans"

#: Iterations between two epochs' ends, where nnU-Net sets its rate and saves.
EPOCH = 10

#: Iterations that are timed to turn minutes into a number.
TIMED = 5

ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "34359738368",
    "MALLOC_TOP_PAD_": "268435456",
}


def main() -> None:
    """Lay out, plan, preprocess, train, predict, score."""
    asked = arguments()
    set_environment(asked.work)
    card, rows = read_cohort(asked.card)
    root = asked.root or asked.card.parent / card.get("root", ".")
    train = [row for row in rows if row["split"] == "train" and row["label"]][: asked.cases]
    test = [row for row in rows if row["split"] == "test" and row["label"]][: asked.cases]
    lay_out(asked.work / "raw" / DATASET, card, root, train)
    print(f"planned and preprocessed in {timed(lambda: prepare(asked.work, asked.batch)):.0f} s")
    print(f"trained in {timed(lambda: train_network(asked)):.0f} s")
    masks = asked.work / "masks"
    print(f"predicted in {timed(lambda: predict(asked.work, root, test, masks)):.0f} s")
    score(card, root, test, masks)


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("card", type=Path)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float)
    length.add_argument("--iterations", type=int)
    parser.add_argument("--batch", type=int, help="instead of the plan's")
    parser.add_argument("--cases", type=int, help="so many train rows and test rows alone")
    return parser.parse_args()


def set_environment(work: Path) -> None:
    """Folders and allocator; Python must be restarted for the latter."""
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(work / name)
    os.environ.setdefault("nnUNet_n_proc_DA", "1")
    if any(os.environ.get(name) != value for name, value in ALLOCATOR.items()):
        os.environ.update(ALLOCATOR)
        os.execv(sys.executable, [sys.executable, *sys.argv])


def read_cohort(card: Path) -> tuple[dict, list[dict[str, str]]]:
    """The card and the rows of its table."""
    import yaml

    keys = yaml.safe_load(card.read_text(encoding="utf-8"))
    with (card.parent / keys["table"]).open(newline="", encoding="utf-8") as file:
        return keys, list(csv.DictReader(file))


def values_of(card: dict) -> dict[str, int]:
    """Label names and values, short or long."""
    return {
        name: entry["value"] if isinstance(entry, dict) else entry
        for name, entry in card["labels"].items()
    }


def lay_out(folder: Path, card: dict, root: Path, rows: list[dict[str, str]]) -> None:
    """Links under nnU-Net's names, and its dataset.json."""
    shutil.rmtree(folder, ignore_errors=True)
    for row in rows:
        for part, name, column in (("imagesTr", "_0000", "image"), ("labelsTr", "", "label")):
            link = folder / part / f"{row['case']}{name}.nii.gz"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((root / row[column]).resolve())
    content = {
        "channel_names": {"0": card["channels"][0]},
        "labels": {"background": 0, **values_of(card)},
        "numTraining": len(rows),
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(content, indent=1))


def prepare(work: Path, batch: int | None) -> None:
    """nnU-Net's own fingerprint, plan and preprocessing."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess,
    )

    number = int(DATASET[7:10])
    extract_fingerprints([number], num_processes=2)
    plan_experiments([number])
    if batch is not None:
        path = work / "preprocessed" / DATASET / f"{PLANS}.json"
        plans = json.loads(path.read_text())
        plans["configurations"][CONFIGURATION]["batch_size"] = batch
        path.write_text(json.dumps(plans, indent=1))
    preprocess([number], PLANS, (CONFIGURATION,), (2,))


def trainer_of(work: Path, iterations: int):
    """nnU-Net's trainer with a schedule of so many iterations."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    place = work / "preprocessed" / DATASET
    plans = json.loads((place / f"{PLANS}.json").read_text()) | {"continue_training": False}
    dataset = json.loads((place / "dataset.json").read_text())
    trainer = nnUNetTrainer(plans, CONFIGURATION, "all", dataset, device=torch.device("cpu"))
    trainer.num_iterations_per_epoch = min(EPOCH, iterations)
    trainer.num_epochs = max(1, round(iterations / trainer.num_iterations_per_epoch))
    trainer.num_val_iterations_per_epoch = 1
    return trainer


def train_network(asked: argparse.Namespace) -> None:
    """As many iterations as asked, or as fit the minutes."""
    iterations = asked.iterations
    if iterations is None:
        started = time.monotonic()
        first = trainer_of(asked.work, TIMED)
        first.on_train_start()
        next(first.dataloader_train)  # the workers have begun
        seconds = min(
            timed(lambda: first.train_step(next(first.dataloader_train))) for _ in range(TIMED)
        )
        first.on_train_end()
        left = 60 * asked.minutes - (time.monotonic() - started)
        iterations = max(1, int(left / seconds))
    trainer = trainer_of(asked.work, iterations)
    print(f"{iterations} iterations of batch {trainer.configuration_manager.batch_size}")
    trainer.run_training()


def predict(work: Path, root: Path, rows: list[dict[str, str]], masks: Path) -> None:
    """Masks of the test rows by the last weights."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    shutil.rmtree(masks, ignore_errors=True)
    masks.mkdir(parents=True)
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    model = work / "results" / DATASET / f"nnUNetTrainer__{PLANS}__{CONFIGURATION}"
    predictor.initialize_from_trained_model_folder(str(model), use_folds=("all",))
    predictor.predict_from_files(
        [[str(root / row["image"])] for row in rows],
        [str(masks / row["case"]) for row in rows],
        num_processes_preprocessing=1,
        num_processes_segmentation_export=1,
    )


def score(card: dict, root: Path, rows: list[dict[str, str]], masks: Path) -> None:
    """Dice of each label, and the mean over labels, over the test rows."""
    import numpy as np
    import SimpleITK

    def read(path: Path):
        return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))

    dice: dict[str, list[float]] = {name: [] for name in values_of(card)}
    for row in rows:
        truth, found = read(root / row["label"]), read(masks / f"{row['case']}.nii.gz")
        for name, value in values_of(card).items():
            a, b = truth == value, found == value
            both = int(a.sum() + b.sum())
            dice[name].append(2 * float((a & b).sum()) / both if both else float("nan"))
    for name, each in dice.items():
        print(f"Dice of {name}: {np.nanmean(each):.4f} over {len(rows)} test rows")
    print(f"mean: {np.mean([np.nanmean(each) for each in dice.values()]):.4f}")


def timed(work) -> float:
    """Seconds that something took."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


if __name__ == "__main__":
    main()
