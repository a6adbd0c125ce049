"""Plans for GPUs of four sizes beside those of nnU-Net's planner for the same cohorts.

    python -m benchmarks.bench_plans --python RIVALS/bin/python

Ten made-up cohorts of real kinds, preset ``standard``, no GPU needed. Patches and spacings are in
plane, in plane and through plane.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
from pathlib import Path
from typing import Any

from medseg.labels import LabelTable
from medseg.manifests import Cohort
from medseg.planning import Machine, make_plan
from medseg.planning.cost import MACS_A_GPU
from medseg.planning.fingerprint import CaseLooks, CohortLooks

GIGABYTES = (8, 12, 24, 80)
CASES = 100
LABELS = LabelTable.from_card({"labels": {"organ": 1, "lesion": 2}})

#: Spacing in mm and shape of a typical scan, in plane, in plane and through plane.
COHORTS = {
    "head and neck CT": ((1.0, 1.0, 3.0), (512, 512, 120)),
    "abdomen CT": ((0.8, 0.8, 2.5), (512, 512, 200)),
    "whole-body CT": ((1.0, 1.0, 1.5), (512, 512, 1000)),
    "cine heart": ((1.4, 1.4, 10.0), (220, 220, 10)),
    "brain tumour": ((1.0, 1.0, 1.0), (140, 170, 140)),
    "prostate": ((0.6, 0.6, 3.0), (320, 320, 22)),
    "hand, thin slices": ((0.4, 0.4, 0.5), (250, 400, 180)),
    "X-ray": ((0.15, 0.15, 1.0), (2000, 2400, 1)),
    "tiny crops": ((1.0, 1.0, 1.0), (35, 50, 36)),
    "small lesions": ((1.0, 1.0, 1.0), (240, 240, 200)),
}


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="Python of an environment with nnunetv2.")
    parser.add_argument("--hours", type=float, default=10.0, help="Of training.")
    options = parser.parse_args()
    rivals = iter(rival_plans(options.python))
    print("| cohort | GPU | medseg: patch × batch at mm | nnU-Net: patch × batch at mm | voxels |")
    print("|---|---|---|---|---|")
    for name, (spacing, shape) in COHORTS.items():
        for gigabytes in GIGABYTES:
            machine = Machine(60 * options.hours, gigabytes * 2**30, MACS_A_GPU, "a GPU", "cuda")
            ours = make_plan(COHORT, looks(spacing, shape), machine, card="x", preset="standard")
            theirs = next(rivals)
            patch, batch = ours.config.patch, ours.config.training.batch
            mm = [each or "own" for each in ours.config.prepare.spacing_mm]
            there = theirs["patch"][1:] + theirs["patch"][:1]
            there_mm = theirs["spacing"][1:] + theirs["spacing"][:1]
            if ours.config.dims == 2:
                there, there_mm, mm = theirs["patch"], theirs["spacing"], mm[:2]
            share = math.prod(patch) / math.prod(there)
            print(
                f"| {name} | {gigabytes} GiB | {_times(patch)} × {batch} at {_times(mm)}"
                f" | {_times(there)} × {theirs['batch']} at {_times(there_mm)} | {share:.2f} |",
                flush=True,
            )


COHORT = Cohort("made up", "CT", ("CT",), LABELS, (), Path("nowhere"))


def looks(spacing: tuple[float, ...], shape: tuple[int, ...]) -> CohortLooks:
    """Scans that are all alike, with a large and a small structure."""
    x, y, z = spacing
    voxels = (shape[0], shape[1], shape[2])
    sample = (tuple(float(n % 120) for n in range(400)),)
    case = CaseLooks((x, y, z), voxels, voxels, {"organ": 50.0, "lesion": 1.0}, 0.05, 0.0, sample)
    return CohortLooks((case,) * CASES, {})


def rival_plans(python: str) -> list[dict[str, Any]]:
    """The same cohorts and GPUs, by nnU-Net's own planner."""
    asked = [
        {
            "spacing": spacing,
            "shape": shape,
            "channels": 1,
            "classes": 3,
            "cases": CASES,
            "gigabytes": gigabytes,
        }
        for spacing, shape in COHORTS.values()
        for gigabytes in GIGABYTES
    ]
    script = Path(__file__).with_name("rival_plans.py")
    answer = subprocess.run(
        [python, script], input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    line = next(line for line in answer.stdout.splitlines() if line.startswith("PLANS "))
    plans: list[dict[str, Any]] = json.loads(line.removeprefix("PLANS "))
    return plans


def _times(numbers: Any) -> str:
    return "×".join(f"{each:g}" if not isinstance(each, str) else each for each in numbers)


if __name__ == "__main__":
    main()
