"""Trains, segments and scores the hippocampus in T1 MR (MSD Task04).

    python pipelines/hippocampus.py --root DATA --output RUN
    python pipelines/hippocampus.py --root DATA --output RUN network.name=fcn8s
    python pipelines/hippocampus.py --root DATA --output RUN dims=2 training.minutes=5
    python pipelines/hippocampus.py --root DATA --output RUN folds=5 training.minutes=30

DATA holds ``images/`` and ``labels/`` of Task04 of the Medical Segmentation Decathlon; without
``--root`` they are fetched into ``--download`` first (27 MB).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from recipe import train_and_score

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
    config = HERE / "hippocampus.yaml"
    train_and_score(config, CARD, root=root, output=output, changes=changes or (), device=device)


if __name__ == "__main__":
    restart_tuned(["train"])
    typer.run(main)
