"""Shows what the literature says of FCN, upsampling and U-Net on real scans, cell by cell.

    python pipelines/architectures.py --heart ACDC --hippocampus TASK04 --output STUDY
    python pipelines/architectures.py --output STUDY --page docs/architectures.md
    python pipelines/architectures.py --quick --output STUDY
    python pipelines/architectures.py --output STUDY --cells unet,fcn32s --seeds 1 --steps 200

Every run of a network (a cell and a seed) has its own folder and is skipped once it is finished, so
the command can be interrupted and given again. A cohort is prepared once and kept as
``STUDY/data/NAME.npz``: that file alone is enough to run the study on another machine. Painted
hearts (``phantoms``) need no data; ``--quick`` runs everything on them.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from study.cohorts import StudyCohort

from medseg.cli.environment import restart_tuned
from medseg.errors import BadConfig

sys.path.insert(0, str(Path(__file__).parent))  # also where this is imported or spawned

#: Steps of every cell: on painted hearts in a hurry, and otherwise.
QUICK_STEPS, STEPS = 60, 600


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the study.")] = Path(
        "study"
    ),
    *,
    heart: Annotated[Path | None, typer.Option(help="Where the ACDC scans lie.")] = None,
    hippocampus: Annotated[Path | None, typer.Option(help="Where Task04 lies.")] = None,
    cohorts: Annotated[
        str,
        typer.Option(help="Which: phantoms, heart, hippocampus; all that are at hand if empty."),
    ] = "",
    cells: Annotated[str, typer.Option(help="Names with commas; all of them if empty.")] = "",
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps a run.")] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.05, help="Or minutes a run: as many steps as the U-Net makes."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of every cell.")] = 3,
    until_minutes: Annotated[
        float | None, typer.Option(min=0.1, help="Begin nothing new after so long.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Painted hearts alone, one seed.")] = False,
    prepare_only: Annotated[
        bool, typer.Option("--prepare-only", help="Only keep the cohorts.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes that score.")] = 2,
    page: Annotated[Path | None, typer.Option(help="Markdown page to write.")] = None,
    remark: Annotated[str, typer.Option(help="A sentence for the page about this run.")] = "",
    page_only: Annotated[bool, typer.Option("--page-only", help="Run nothing.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Run what is missing, then write the page and the report."""
    from study.cells import BY_NAME
    from study.length import settled_steps
    from study.results import Folder
    from study.running import Study, run_study
    from study.writing import write_study

    from medseg.cli.device import pick_device

    started = time.monotonic()
    chosen = frozenset(filter(None, cells.split(","))) or frozenset(BY_NAME)
    if unknown := sorted(chosen - set(BY_NAME)):
        raise BadConfig("no such cell", found=unknown, expected=", ".join(BY_NAME))
    roots = {"heart": heart, "hippocampus": hippocampus}
    wanted = ["phantoms"] if quick else list(filter(None, cohorts.split(",")))
    ready = gathered(output / "data", roots, wanted, quick=quick)
    if prepare_only:
        return
    folder = Folder(output / "cells")
    count = 1 if quick else seeds
    if not page_only:
        where = pick_device(device)
        length = settled_steps(
            output / "study.json",
            ready[0],
            steps=steps,
            minutes=minutes,
            usual=QUICK_STEPS if quick else STEPS,
            device=where,
        )
        limit = float("inf") if until_minutes is None else started + 60 * until_minutes
        say(f"{len(ready)} cohorts, {length} steps a run, on {where}")
        run_study(Study(folder, where, length, count, limit, chosen, workers, say), ready)
    write_study(output, ready, folder, seeds=count, page=page, remark=remark)
    say(f"{output / 'report.html'}")


def gathered(
    data: Path, roots: dict[str, Path | None], wanted: list[str], *, quick: bool
) -> list[StudyCohort]:
    """The cohorts that are at hand, prepared now or before."""
    from study.cohorts import load, prepare, save
    from study.phantoms import phantom_hearts

    ready = []
    for name, root in roots.items():
        if wanted and name not in wanted:
            continue
        path = data / f"{name}.npz"
        if not path.is_file() and root is not None:
            say(f"preparing {name}")
            save(prepare(name, root), path)
        if path.is_file():
            ready.append(load(path))
        else:
            say(f"{name}: no cells, for its scans are not at hand (--{name} DIR)")
    if not wanted or "phantoms" in wanted:
        count = (12, 8) if quick else (24, 12)
        ready.append(phantom_hearts(train=count[0], test=count[1]))
    return ready


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


if __name__ == "__main__":
    restart_tuned(["train"])
    typer.run(main)
