"""Twenty cases chosen by ``medseg cohort next`` beside twenty at random, on cases of known truth.

    python benchmarks/active_learning.py --root TASK04 --output STUDY        # hippocampus
    python benchmarks/active_learning.py --quick --output STUDY              # phantoms, minutes

For every seed a first model learns from a few train rows and segments the others; from its masks
``medseg cohort next`` proposes some of them, and as many are drawn at random. Two models then
train on from the first one, for the same number of steps, with the truth of the one or the other;
both are scored on the test rows. Every cell (a seed, and first, chosen or random) has a folder of
its own and is skipped once it is finished, so an interrupted study resumes.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer
import yaml
from scipy.stats import bootstrap

HERE = Path(__file__).resolve().parents[1]
CONFIG = HERE / "pipelines" / "hippocampus.yaml"
ARMS = ("chosen", "random")

#: Written when a cell is finished.
DONE = "done"


@dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
        card: of the cohort, whose truths stand for an annotator.
        root: where its files lie.
        config: what is trained.
        output: folder of the study.
        start: train rows that are labelled at first.
        more: rows that are added.
        steps: of each training, so that the load of the machine changes nothing.
        device: where.
    """

    card: Path
    root: Path
    config: Path
    output: Path
    start: int
    more: int
    steps: int
    device: str

    def cell(self, seed: int, name: str) -> Path:
        """The folder of a cell."""
        return self.output / f"seed{seed}" / name


def main(
    output: Path = typer.Option(..., "--output", "-o", help="Folder of the study."),
    root: Path | None = typer.Option(None, help="Where the scans of the hippocampus lie."),
    seeds: int = typer.Option(3, min=1),
    start: int = typer.Option(10, min=1, help="Train rows that are labelled at first."),
    more: int = typer.Option(20, min=1, help="Rows that are added."),
    steps: int = typer.Option(200, min=1, help="Optimiser steps of each training."),
    device: str = typer.Option("cpu"),
    *,
    quick: bool = typer.Option(False, "--quick", help="Phantoms, one seed, to see that it runs."),
) -> None:
    """Run what is missing, then write ``differences.csv`` and print what came out."""
    if quick:
        card, config = phantoms(output / "phantoms")
        study = Study(card, card.parent, config, output, 3, 3, 10, device)
        seeds = 1
    elif root is None:
        raise typer.BadParameter("--root says where the scans lie", param_hint="--root")
    else:
        card = HERE / "data_manifests" / "hippocampus.yaml"
        study = Study(card, root, CONFIG, output, start, more, steps, device)
    for seed in range(seeds):
        run_seed(study, seed)
    print(json.dumps(summary(study, seeds), indent=2))


def run_seed(study: Study, seed: int) -> None:
    """The cells of one seed that are missing."""
    rows = table_of(study.card)
    train = [row for row in rows if row["split"] == "train"]
    draw = np.random.default_rng(seed)
    order = [train[k] for k in draw.permutation(len(train))]
    first, pool = order[: study.start], order[study.start :]
    test = [row for row in rows if row["split"] == "test"]
    base = study.cell(seed, "first")
    if not (base / DONE).exists():
        begin(base)
        train_on(study, base, [*first, *test], seed)
        unlabelled = [row | {"label": "", "label_sha256": ""} for row in pool]
        write_card(study, base / "pool.yaml", [*first, *unlabelled])
        segment(study, base, base / "pool.yaml", "train", base / "masks")
        next_csv = ["--from", base / "masks", "-n", study.more, "--output", base / "next.csv"]
        medseg("cohort", "next", base / "pool.yaml", "--root", study.root, *next_csv)
        (base / DONE).touch()
    with (base / "next.csv").open(newline="", encoding="utf-8") as file:
        chosen = {row["case"] for row in csv.DictReader(file)}
    picked = {
        "chosen": [row for row in pool if row["case"] in chosen],
        "random": pool[: len(chosen)],  # the pool is in an order of chance
    }
    for arm in ARMS:
        cell = study.cell(seed, arm)
        if (cell / DONE).exists():
            continue
        begin(cell)
        train_on(study, cell, [*first, *picked[arm], *test], seed, init=base / "run" / "model")
        segment(study, cell, cell / "cohort.yaml", "test", cell / "masks")
        scores = ["--split", "test", "--output", cell / "evaluation", "--root", study.root]
        medseg("evaluate", cell / "masks", cell / "cohort.yaml", *scores)
        (cell / DONE).touch()


def begin(cell: Path) -> None:
    """An empty folder; what an interrupted run left there is no use."""
    shutil.rmtree(cell, ignore_errors=True)
    cell.mkdir(parents=True)


def train_on(
    study: Study, cell: Path, rows: Sequence[dict[str, str]], seed: int, init: Path | None = None
) -> None:
    """Train on the train rows among some, from a model's weights or from nothing."""
    write_card(study, cell / "cohort.yaml", rows)
    config = yaml.safe_load(study.config.read_text(encoding="utf-8")) | {"cohort": "cohort.yaml"}
    (cell / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    words = ["training.minutes=null", f"training.steps={study.steps}", f"training.seed={seed}"]
    words += [f"training.ema={max(0.9, 1 - 3 / study.steps):.4f}"]
    words += ["--output", cell / "run", "--root", study.root, "--device", study.device]
    medseg("train", cell / "config.yaml", *words, *(["--init", init] if init else []))


def segment(study: Study, cell: Path, card: Path, split: str, output: Path) -> None:
    """Masks of one part of a cohort by the cell's model, or the first one's."""
    words = ["--split", split, "--root", study.root, "--output", output, "--device", study.device]
    medseg("segment", cell / "run" / "model", card, *words)


def medseg(*words: object) -> None:
    """One command; what it says goes to standard error."""
    command = [sys.executable, "-m", "medseg", *map(str, words)]
    print("medseg", *words, file=sys.stderr, flush=True)
    subprocess.run(command, check=True, stdout=sys.stderr)


def table_of(card: Path) -> list[dict[str, str]]:
    """The rows of a cohort's table."""
    name = yaml.safe_load(card.read_text(encoding="utf-8"))["table"]
    with (card.parent / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_card(study: Study, path: Path, rows: Sequence[dict[str, str]]) -> None:
    """A card with these rows alone."""
    card = yaml.safe_load(study.card.read_text(encoding="utf-8")) | {"table": f"{path.stem}.csv"}
    path.write_text(yaml.safe_dump(card, sort_keys=False), encoding="utf-8")
    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def summary(study: Study, seeds: int) -> dict[str, object]:
    """Mean Dice of both arms, and their difference: by seed, and with an interval over patients.

    A patient's difference is the mean over seeds; patients are drawn with replacement (BCa).
    """
    dice = {arm: [dice_by_patient(study.cell(s, arm)) for s in range(seeds)] for arm in ARMS}
    patients = sorted(dice["chosen"][0])
    values = {arm: np.array([[one[p] for p in patients] for one in dice[arm]]) for arm in ARMS}
    apart = values["chosen"] - values["random"]  # (seeds, patients)
    write_differences(study.output / "differences.csv", patients, apart)
    of_patients = apart.mean(axis=0)
    low, high = bootstrap(
        (of_patients,), np.mean, n_resamples=10_000, rng=np.random.default_rng(0)
    ).confidence_interval
    return {
        "seeds": seeds,
        "patients": len(patients),
        "labelled first": study.start,
        "added": study.more,
        "steps a training": study.steps,
        **{f"Dice, {arm}": round(float(values[arm].mean()), 4) for arm in ARMS},
        "difference by seed": [round(float(one), 4) for one in apart.mean(axis=1)],
        "difference": round(float(of_patients.mean()), 4),
        "95% interval over patients": [round(float(low), 4), round(float(high), 4)],
    }


def dice_by_patient(cell: Path) -> dict[str, float]:
    """Mean Dice over labels of every test patient; several scans of one count as their mean."""
    found: dict[str, list[float]] = {}
    with (cell / "evaluation" / "scores.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["metric"] == "dice" and row["label"] == "mean":
                found.setdefault(row["patient"], []).append(float(row["value"]))
    return {patient: float(np.mean(values)) for patient, values in found.items()}


def write_differences(path: Path, patients: Sequence[str], apart: np.ndarray) -> None:
    """A row a patient and seed, for other statistics."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("patient", "seed", "dice_chosen_minus_random"))
        for seed, row in enumerate(apart):
            writer.writerows((p, seed, f"{d:.6f}") for p, d in zip(patients, row, strict=True))


def phantoms(folder: Path) -> tuple[Path, Path]:
    """A cohort of phantoms and what the demo trains on them."""
    from medseg.phantoms import Population, write_phantom_cohort

    card = folder / "cohort.yaml"
    if not card.exists():
        structures = ("liver", "spleen", "left kidney", "right kidney")
        write_phantom_cohort(folder, Population(spacing_mm=6.0, structures=structures), cases=20)
    return card, HERE / "medseg" / "cli" / "demo.yaml"


if __name__ == "__main__":
    typer.run(main)
