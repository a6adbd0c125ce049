"""Compares the peak memory of training with what a plan foretells, for 1, 13 and 105 classes.

    python -m benchmarks.bench_plan_memory

Each network trains a few steps on phantoms as `medseg train` does it, allocator included. The card
names more labels than a phantom shows where that many classes are wanted.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from medseg.inference.forward import cpu_multiplies_bfloat16
from medseg.phantoms import Population, write_phantom_cohort
from medseg.planning import Machine
from medseg.planning.cost import levels_for
from medseg.planning.memory import step_memory

#: Name -> patch, batch, features of the finest level, and most.
CONFIGS = {
    "fast, a whole hippocampus": ((40, 56, 40), 2, 16, 128),
    "narrow, a larger patch": ((64, 64, 64), 2, 8, 64),
    "standard, a small patch": ((32, 32, 32), 2, 32, 320),
}
CLASSES = (1, 13, 105)
STEPS = 6


def main() -> None:
    """Print forecast, peak and their ratio."""
    precision = "bfloat16" if cpu_multiplies_bfloat16() else "float32"
    machine = Machine(10, 8e9, 1e10, "this CPU", precision=precision)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        card = write_phantom_cohort(home / "data", Population(spacing_mm=8.0), cases=10)
        print(f"{'config':<26}{'classes':>8}{'forecast GB':>12}{'peak GB':>9}{'ratio':>7}")
        for title, (patch, batch, first, most) in CONFIGS.items():
            levels = levels_for(patch, (1.0, 1.0, 1.0), first, most, 6)
            for classes in CLASSES:
                plan = home / f"{patch[0]}-{first}-{classes}.yaml"
                content = {
                    "cohort": str(with_labels(card, classes)),
                    "patch": list(patch),
                    "network": {"name": "unet", "options": {"features": list(levels.features)}},
                    "training": {"steps": STEPS, "warmup": 2, "batch": batch},
                }
                plan.write_text(yaml.safe_dump(content))
                memory = step_memory(machine, levels, 1, classes + 1)
                forecast = memory.bytes_of(batch * math.prod(patch)) / 1e9
                run = ("train", plan, "--output", plan.with_suffix(""), "--quiet")
                peak = peak_gb(*run, "--cache", home / f"cache-{classes}")
                print(
                    f"{title:<26}{classes:>8}{forecast:>12.2f}{peak:>9.2f}{forecast / peak:>7.2f}",
                    flush=True,
                )


def with_labels(card: Path, classes: int) -> Path:
    """A card beside the phantoms' own that names so many labels; its first ones are theirs."""
    content = yaml.safe_load(card.read_text())
    own = list(content["labels"].items())[:classes]
    used = {value if isinstance(value, int) else value["value"] for _, value in own}
    free = (value for value in range(1, 256) if value not in used)
    content["labels"] = dict(own) | {
        f"never seen {n}": next(free) for n in range(classes - len(own))
    }
    everything = yaml.safe_load(card.read_text())["labels"]
    dropped = {name: value for name, value in everything.items() if name not in dict(own)}
    content["remap"] = {
        (value if isinstance(value, int) else value["value"]): 0 for value in dropped.values()
    }
    path = card.with_name(f"{card.stem}-{classes}.yaml")
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def peak_gb(*call: object) -> float:
    """Largest resident size of a `medseg` process."""
    words = [sys.executable, "-m", "medseg", *map(str, call)]
    process = subprocess.Popen([*words, "--device", "cpu"])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{words} ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
