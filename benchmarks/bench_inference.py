"""Time and memory of one large CT, and whether the memory was predicted.

    python benchmarks/bench_inference.py                                  # a few minutes
    python benchmarks/bench_inference.py --extents 250 500 1000 --classes 5 25 105   # an hour

A real CT is resampled to 512 x 512 planes of 0.8 mm and repeated along its length. A random
U-Net answers, so that labels change everywhere: the worst case for restoring. Every run is one
process of its own, without the command around it; its peak is the kernel's high-water mark.
``bench_rival_inference.py`` runs the whole command beside other tools.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medseg.config import InferConfig, NormaliseWindow, PostprocessRule, PrepareConfig
from medseg.geometry import Geometry
from medseg.inference import Allowance, Segmenter
from medseg.inference.stitch import Stitcher
from medseg.labels import Label, LabelTable
from medseg.networks import build_network
from medseg.scans import read
from medseg.transforms.resample import resample
from medseg.transforms.restore import Restorer
from medseg.volume import Volume
from medseg.writers import write_labels
from medseg.writers.nifti import write_volume

SPACING_MM, IN_PLANE, SIDE_MM = 1.5, 512, 410.0
WINDOW = (96, 96, 96)
FEATURES = (8, 16, 32, 64)


@dataclass(frozen=True, eq=False)
class RandomModel:
    """A small U-Net with random weights and as many labels as wanted."""

    labels: LabelTable
    overlap: float
    dims: int = 3
    slice_axis: int | None = None
    postprocess: tuple[PostprocessRule, ...] = ()

    @property
    def prepare(self) -> PrepareConfig:
        return PrepareConfig(
            spacing_mm=(SPACING_MM,) * 3, normalise=(NormaliseWindow(low=-1000, high=1000),)
        )

    @property
    def infer(self) -> InferConfig:
        return InferConfig(window=WINDOW, overlap=self.overlap, batch=1)

    def networks(self, device: torch.device | str = "cpu") -> list[torch.nn.Module]:
        torch.manual_seed(1)
        network = build_network(
            "unet",
            dims=3,
            in_channels=1,
            out_channels=self.labels.channels,
            options={"features": FEATURES},
        )
        with torch.no_grad():
            head = [p for p in network.parameters() if p.ndim == 5][-1]
            head.mul_(20)
        return [network.eval().to(device)]


def table(classes: int) -> LabelTable:
    return LabelTable(tuple(Label(f"label {n}", n, "#808080") for n in range(1, classes)))


def make_scan(path: Path, extent_mm: int) -> None:
    """A 512 x 512 CT of some length in 1 mm slices, from the example or from noise."""
    spacing = SIDE_MM / IN_PLANE
    target = Geometry((IN_PLANE, IN_PLANE, 64), np.diag([spacing, spacing, 1.0, 1.0]))
    named = os.environ.get("MEDSEG_SHARED_DATA")
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    example = (Path(named) if named else beside) / "ct" / "example_ct.nii.gz"
    if example.is_file():
        values = read(example).values()
        stretch = [(n - 1) / (m - 1) for n, m in zip(values.shape[1:], target.shape, strict=True)]
        source = Geometry(
            values.shape[1:],
            np.diag([mm / s for mm, s in zip(target.spacing_mm, stretch, strict=True)] + [1.0]),
        )
        block = resample(values, source, target).numpy()
    else:
        coarse = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 1, 64, 64, 16)))
        block = torch.nn.functional.interpolate(coarse * 300, size=target.shape)[0].numpy()
    block = block.round().astype(np.int16)
    pair = np.concatenate([block, block[..., ::-1]], axis=-1)
    data = np.concatenate([pair] * -(-extent_mm // pair.shape[-1]), axis=-1)[..., :extent_mm]
    geometry = Geometry((IN_PLANE, IN_PLANE, extent_mm), target.affine)
    write_volume(Volume(np.asfortranarray(data), geometry), path)


class Stopwatch:
    """Adds up the wall time spent in functions that it wraps, by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def wrap(self, stage: str, owner: object, name: str) -> None:
        """Time every call of a function or method from here on."""
        function = getattr(owner, name)

        @functools.wraps(function)
        def timed(*arguments: object, **options: object) -> object:
            start = time.perf_counter()
            answer = function(*arguments, **options)
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start
            return answer

        setattr(owner, name, timed)


def run_medseg(scan: Path, output: Path, classes: int, overlap: float) -> dict[str, Any]:
    """Segment one file into one file; where the time went."""
    road = importlib.import_module("medseg.inference.segment")
    watch = Stopwatch()
    watch.wrap("read", road, "read")
    watch.wrap("prepare", road, "prepare_volume")
    watch.wrap("add", Stitcher, "add")
    watch.wrap("normalise", Stitcher, "_normalise")
    watch.wrap("restore", Restorer, "put")
    model = RandomModel(table(classes), overlap)
    segmenter = Segmenter(model, precision="float32", allowance=Allowance(4 << 30))
    start = time.perf_counter()
    watch.wrap("network", segmenter._networks[0], "forward")
    result = segmenter(scan)
    segmented = time.perf_counter()
    write_labels(result.labelmap, output)
    end = time.perf_counter()
    watch.seconds["write"] = end - segmented
    watch.seconds["rest"] = end - start - sum(watch.seconds.values())
    return {
        "seconds": round(end - start, 1),
        "network_seconds": round(watch.seconds["network"], 1),
        "stage_seconds": {stage: round(spent, 2) for stage, spent in watch.seconds.items()},
        "predicted_mb": round(result.budget.host_bytes / 1e6),
        "parts_mb": {name: round(n / 1e6) for name, n in result.budget.host.items()},
        "fits": result.budget.fits,
    }


def child(scan: Path, classes: int, overlap: float) -> None:
    """One run in this process; prints one line of JSON with the kernel's high-water mark."""
    with tempfile.TemporaryDirectory() as place:
        row = run_medseg(scan, Path(place) / "mask.nii.gz", classes, overlap)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak_kb = int(status.split("VmHWM:")[1].split()[0])
    print(json.dumps(row | {"peak_mb": round(peak_kb * 1024 / 1e6)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extents", type=int, nargs="+", default=[128])
    parser.add_argument("--classes", type=int, nargs="+", default=[25])
    parser.add_argument("--overlap", type=float, default=0.5)
    parser.add_argument("--scans", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--child", type=Path, metavar="SCAN")
    chosen = parser.parse_args()
    if chosen.child:
        child(chosen.child, chosen.classes[0], chosen.overlap)
        return
    for extent, classes in product(chosen.extents, chosen.classes):
        scan = chosen.scans / f"medseg_bench_{extent}.nii.gz"
        if not scan.exists():
            make_scan(scan, extent)
        row = measure(scan, classes, chosen.overlap)
        print(json.dumps({"extent_mm": extent, "classes": classes} | row), flush=True)
        if "predicted_mb" in row:
            off = row["peak_mb"] / row["predicted_mb"] - 1
            print(
                f"{extent} mm, {classes} classes: peak {row['peak_mb']} MB, "
                f"{off:+.1%} against the prediction"
            )


def measure(scan: Path, classes: int, overlap: float) -> dict[str, Any]:
    """Run a child; a child that dies is a row, too."""
    command = [
        sys.executable,
        __file__,
        "--child",
        str(scan),
        "--classes",
        str(classes),
        "--overlap",
        str(overlap),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return {"failed": done.returncode, "said": done.stderr.strip().splitlines()[-1:]}
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


if __name__ == "__main__":
    main()
