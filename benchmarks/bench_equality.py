"""Counts the voxels on which a streamed mask differs from the whole-volume one.

    python -m benchmarks.bench_equality trained MODEL SCAN [SCAN ...]
    python -m benchmarks.bench_equality large [--extent 500 --classes 55]    # 10 minutes

``trained``: MONAI's sliding windows with our weights, then all classes interpolated onto the whole
native grid, in the same precision; mirrors and folds as the model's card says. ``large``: a CT of
which classes x native voxels would not fit into 24 GiB, an untrained network whose logits are
well spread, and a reference that holds one class at a time. Differences must be ties: `margin` is
how far apart the two strongest logits of the reference are where the masks differ.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch

from benchmarks.bench_inference import RandomModel, make_scan, table
from medseg.inference import Segmenter
from medseg.model import load_model
from medseg.scans import read
from tests.inference.whole import class_by_class, whole_volume


def compared(mask, expected, margin) -> dict[str, object]:
    wrong = mask != expected
    return {
        "voxels": int(wrong.size),
        "different": int(wrong.sum()),
        "share": float(wrong.mean()),
        "largest_margin": float(margin[wrong].max(initial=0)),
    }


def trained(chosen: argparse.Namespace) -> None:
    model = load_model(chosen.model)
    for precision in ("float32", "float64"):
        segmenter = Segmenter(model, precision=precision)
        rows = []
        for path in chosen.scans:
            volume = read(path)
            expected, margin, spread = whole_volume(model, volume, getattr(torch, precision))
            rows.append(compared(segmenter(volume).labelmap.data, expected, margin))
        print(
            json.dumps(
                {
                    "precision": precision,
                    "scans": len(rows),
                    "networks": len(model.card.weights),
                    "mirrors": model.infer.mirror_axes,
                    "last_spread": round(spread, 2),
                    "voxels": sum(row["voxels"] for row in rows),
                    "different": sum(row["different"] for row in rows),
                    "largest_margin": max(row["largest_margin"] for row in rows),
                }
            )
        )


def large(chosen: argparse.Namespace) -> None:
    model = RandomModel(table(chosen.classes), 0.25)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "scan.nii.gz"
        make_scan(path, chosen.extent)
        volume = read(path)
        mask = Segmenter(model, precision="float32")(volume).labelmap.data
        expected, margin = class_by_class(model, volume, Path(place))
    whole_gb = 4 * chosen.classes * mask.size / 1e9
    print(
        json.dumps(
            {
                "extent_mm": chosen.extent,
                "classes": chosen.classes,
                "whole_gb": round(whole_gb, 1),
                **compared(mask, expected, margin),
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=lambda _: parser.print_help())
    commands = parser.add_subparsers()
    one = commands.add_parser("trained")
    one.set_defaults(run=trained)
    one.add_argument("model", type=Path)
    one.add_argument("scans", type=Path, nargs="+")
    other = commands.add_parser("large")
    other.set_defaults(run=large)
    other.add_argument("--extent", type=int, default=500, help="mm")
    other.add_argument("--classes", type=int, default=55)
    chosen = parser.parse_args()
    chosen.run(chosen)


if __name__ == "__main__":
    main()
