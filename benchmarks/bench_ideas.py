"""Ways to learn more in the same steps, each against the plan's own way, on held-out train scans.

    python benchmarks/bench_ideas.py pipelines/hippocampus.yaml --root TASK04 --output STUDY
    python benchmarks/bench_ideas.py plan.yaml --root DATA --output STUDY --only base deep

Every idea changes a few settings of the config and nothing else. It is trained for the same number
of steps on all folds but the first, with the same seeds, and scored on whole scans of the first
fold; test rows are never opened. Written are ``ideas.csv`` and a table: the mean Dice, its paired
difference to ``base`` with Student's 95 % interval over cases (a case's difference is the mean
over its labels and over seeds), and the processor time of the whole run as a ratio. Every run has
a folder and is skipped once it is finished, so an interrupted study resumes.
"""

from __future__ import annotations

import csv
import json
import resource
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import typer
from scipy import stats

#: Name -> what it changes.
IDEAS: dict[str, tuple[str, ...]] = {
    "base": (),
    "deep": ("network.options.deep_supervision=true",),
    "sum": ("network.options.skips=sum",),
    "residual": ("network.name=residual_unet",),
    "foreground_33": ("training.foreground=0.33",),
    "foreground_67": ("training.foreground=0.67",),
    "growth": ("training.growth=3",),
    "one_size": ("training.growth=1",),
    "rate_half": ("training.learning_rate=0.0015",),
    "rate_double": ("training.learning_rate=0.006",),
    "poly": ("training.decay=poly",),
    "topk": ("loss.name=topk_dice",),
    "tversky": ("loss.name=tversky_focal",),
    "plain_grey": (
        "augment.brightness=0",
        "augment.contrast=0",
        "augment.gamma=0",
        "augment.noise=0",
        "augment.blur=0",
        "augment.low_resolution=0",
    ),
    "no_elastic": ("augment.elastic_voxels=0",),
}


def main(
    config: Path = typer.Argument(help="What is trained, but for the changes."),
    output: Path = typer.Option(..., "--output", "-o", help="Folder of the study."),
    root: Path | None = typer.Option(None, help="Where the scans lie."),
    only: list[str] = typer.Option(list(IDEAS), help="Ideas to try; base is always among them."),
    steps: int = typer.Option(300, min=1, help="Optimiser steps of each run."),
    cases: int = typer.Option(32, min=2, help="Held-out scans that are scored."),
    seeds: int = typer.Option(1, min=1),
) -> None:
    """Run what is missing, then write and print what came out."""
    names = ["base", *(name for name in only if name != "base")]
    if unknown := [name for name in names if name not in IDEAS]:
        raise typer.BadParameter(f"{', '.join(unknown)}; there are {', '.join(IDEAS)}")
    common = ["training.minutes=null", f"training.steps={steps}", "training.fold=0"]
    common += ["training.validations=1", f"training.validation_cases={cases}"]
    common += [f"training.ema={np.clip(1 - 3 / steps, 0.99, 0.999):.4f}", "training.logger=none"]
    for seed in range(seeds):
        for name in names:
            words = [*common, *IDEAS[name], f"training.seed={seed}"]
            train(config, words, output / f"seed{seed}" / name, output / "cache", root)
    rows = [row_of(output, name, seeds) for name in names]
    with (output / "ideas.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print("| idea | Dice | difference to base | processor time |\n|---|---|---|---|")
    for row in rows:
        apart = (
            "" if row["idea"] == "base" else f"{row['difference']} [{row['low']}, {row['high']}]"
        )
        print(f"| {row['idea']} | {row['dice']} | {apart} | {row['processor_ratio']} |", flush=True)


def train(config: Path, words: list[str], folder: Path, cache: Path, root: Path | None) -> None:
    """One run, and the processor time that it took."""
    if (folder / "cost.json").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "medseg", "train", str(config), *words]
    command += ["--output", str(folder), "--cache", str(cache), "--device", "cpu"]
    command += ["--root", str(root)] if root else []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=sys.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    (folder / "cost.json").write_text(json.dumps({"processor_seconds": seconds}), encoding="utf-8")


def row_of(output: Path, name: str, seeds: int) -> dict[str, object]:
    """What became of an idea, beside the base."""
    dice, base = (mean_dice(output, each, seeds) for each in (name, "base"))
    apart = np.array([dice[case] - base[case] for case in sorted(base)])
    half = stats.t.ppf(0.975, len(apart) - 1) * stats.sem(apart)
    cost, usual = (processor_seconds(output, each, seeds) for each in (name, "base"))
    return {
        "idea": name,
        "seeds": seeds,
        "cases": len(apart),
        "dice": f"{np.mean(list(dice.values())):.4f}",
        "difference": f"{apart.mean():+.4f}",
        "low": f"{apart.mean() - half:+.4f}",
        "high": f"{apart.mean() + half:+.4f}",
        "processor_ratio": f"{cost / usual:.2f}",
    }


def mean_dice(output: Path, name: str, seeds: int) -> dict[str, float]:
    """Case -> Dice at the end, the mean over labels and seeds."""
    values: dict[str, list[float]] = defaultdict(list)
    for seed in range(seeds):
        path = output / f"seed{seed}" / name / "validation.csv"
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["dice"]]
        last = max(int(row["step"]) for row in rows)
        for row in rows:
            if int(row["step"]) == last:
                values[row["case"]].append(float(row["dice"]))
    return {case: float(np.mean(each)) for case, each in values.items()}


def processor_seconds(output: Path, name: str, seeds: int) -> float:
    """Of all runs of an idea."""
    paths = (output / f"seed{seed}" / name / "cost.json" for seed in range(seeds))
    return sum(json.loads(p.read_text(encoding="utf-8"))["processor_seconds"] for p in paths)


if __name__ == "__main__":
    typer.run(main)
