"""Does training take the memory that a plan foretells?  Peak of the process against the forecast.

    python -m benchmarks.bench_plan_memory

Each network trains a few steps on phantoms as `medseg train` does it, allocator included.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from medseg.phantoms import Population, write_phantom_cohort
from medseg.planning.cost import levels_for

#: Name -> patch, batch, features of the finest level, and most.
CONFIGS = {
    "fast, a whole hippocampus": ((40, 56, 40), 2, 16, 128),
    "narrow, a larger patch": ((64, 64, 64), 2, 8, 64),
    "standard, a small patch": ((32, 32, 32), 2, 32, 320),
}
STEPS = 6


def main() -> None:
    """Print forecast, peak and their ratio."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        card = write_phantom_cohort(home / "data", Population(spacing_mm=8.0), cases=10)
        print(f"{'config':<28}{'forecast GB':>12}{'peak GB':>9}{'ratio':>7}")
        for number, (title, (patch, batch, first, most)) in enumerate(CONFIGS.items()):
            levels = levels_for(patch, (1.0, 1.0, 1.0), first, most, 6)
            content = {
                "cohort": str(card),
                "patch": list(patch),
                "network": {"name": "unet", "options": {"features": list(levels.features)}},
                "training": {"steps": STEPS, "warmup": 2, "batch": batch},
            }
            plan = home / f"plan{number}.yaml"
            plan.write_text(yaml.safe_dump(content))
            forecast = levels.step_bytes(batch * math.prod(patch), 1) / 1e9
            peak = peak_gb("train", plan, "--output", home / f"run{number}", "--quiet")
            print(f"{title:<28}{forecast:>12.2f}{peak:>9.2f}{forecast / peak:>7.2f}", flush=True)


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
