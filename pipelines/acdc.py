"""Plans, trains, segments and scores the ACDC hearts: cine MR, three structures, thick slices.

    python pipelines/acdc.py --root DATA --output RUN --minutes 30
    python pipelines/acdc.py --root DATA --output RUN --minutes 30 --dims 2
    python pipelines/acdc.py --root DATA --output RUN --minutes 30 --scribbles
    python pipelines/acdc.py --root DATA --output RUN network.name=fcn8s training.seed=2

DATA holds ``images/`` and ``labels/`` of the training set, as the card names them, and
``scribbles/`` for training on scribbles (the test rows are scored on full masks either way). The
plan is made once and kept in ``RUN/plan.yaml``, so that a run that was interrupted goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from recipe import train_and_score, verb

from medseg.cli.environment import restart_tuned

CARDS = Path(__file__).parent.parent / "data_manifests"


def main(
    changes: Annotated[list[str] | None, typer.Argument(metavar="[key=value …]")] = None,
    *,
    root: Annotated[Path, typer.Option(help="Where the scans lie.")],
    output: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("acdc"),
    minutes: Annotated[float, typer.Option(min=0.5, help="Time for training.")] = 30.0,
    preset: Annotated[str, typer.Option(help="Of `medseg plan`.")] = "fast",
    dims: Annotated[int | None, typer.Option(help="2 or 3; the plan's choice if absent.")] = None,
    scribbles: Annotated[bool, typer.Option("--scribbles", help="Train on scribbles.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train on 64 patients, segment and score the 15 test patients once."""
    card = CARDS / ("acdc_scribbles.yaml" if scribbles else "acdc.yaml")
    plan = output / "plan.yaml"
    if not plan.is_file():
        output.mkdir(parents=True, exist_ok=True)
        chosen = () if dims is None else ("--dims", dims)
        verb(
            "plan",
            card,
            "--root",
            root,
            "--output",
            plan,
            "--minutes",
            minutes,
            "--preset",
            preset,
            *chosen,
            "--device",
            device,
        )
    train_and_score(plan, card, root=root, output=output, changes=changes or (), device=device)


if __name__ == "__main__":
    restart_tuned(["train"])
    typer.run(main)
