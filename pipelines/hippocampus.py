"""How well does medseg find the hippocampus?  Train, segment the test split, evaluate.

    python pipelines/hippocampus.py --root DATA --output RUN
    python pipelines/hippocampus.py --root DATA --output RUN network.name=fcn8s
    python pipelines/hippocampus.py --root DATA --output RUN dims=2 training.minutes=5
    python pipelines/hippocampus.py --root DATA --output RUN folds=5 training.minutes=30

DATA holds ``images/`` and ``labels/`` of Task04 of the Medical Segmentation Decathlon; without
``--root`` they are fetched into ``--download`` first (27 MB).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from medseg.cli import run
from medseg.cli.environment import restart_tuned

HERE = Path(__file__).parent
CARD = HERE.parent / "data_manifests/hippocampus.yaml"


def main(
    changes: Annotated[list[str] | None, typer.Argument(metavar="[key=value …]")] = None,
    output: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("hippocampus"),
    root: Annotated[Path | None, typer.Option(help="Where the scans lie.")] = None,
    download: Annotated[Path, typer.Option(help="Where to fetch them.")] = Path("data"),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train on the 160 train rows, segment and score the 40 test rows once."""
    if root is None:
        from fetch_hippocampus import fetch

        root = fetch(download)
    place = ("--root", root)
    there = ("--split", "test", *place)
    config = HERE / "hippocampus.yaml"
    model, masks, scores = (output / name for name in ("model", "masks", "evaluation"))
    does("train", config, *(changes or []), *place, "--output", output, "--resume",
         "--device", device)  # fmt: skip
    does("segment", model, CARD, *there, "--output", masks, "--executor", "inline",
         "--device", device)  # fmt: skip
    curves = output / "curves.csv"  # with folds, each has its own
    does("evaluate", masks, CARD, *there, "--output", scores,
         *(("--curves", curves) if curves.is_file() else ()))  # fmt: skip
    print((scores / "summary.csv").read_text(encoding="utf-8"))


def does(*words: object) -> None:
    """One verb; where it fails, so does the pipeline."""
    code = run(*words)
    if code:
        sys.exit(code)


if __name__ == "__main__":
    restart_tuned(["train"])
    typer.run(main)
