"""``medseg demo``: train, segment and evaluate on phantoms, offline, in minutes on two cores."""

from __future__ import annotations

import csv
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.console import Console, duration, open_console
from medseg.cli.options import Device, Json, Overwrite, Quiet
from medseg.cli.outputs import guard_file
from medseg.errors import BadOutput

if TYPE_CHECKING:
    from medseg.manifests import Cohort

#: Phantoms in the cohort; a fifth of their patients are held out.
CASES = 30

#: What the phantoms' masks hold; all large enough for voxels of 6 mm.
STRUCTURES = ("liver", "spleen", "left kidney", "right kidney")

#: Marks a folder the demo may write into again.
_MARK = ".medseg-demo"

#: What is trained, to be read and changed.
_CONFIG = "phantoms.yaml"


def demo(
    context: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for everything.")] = Path(
        "demo"
    ),
    minutes: Annotated[float, typer.Option(min=0.1, help="Minutes of training.")] = 4.0,
    overwrite: Overwrite = False,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train, segment and evaluate on phantoms of known volume; needs no data and no network.

    Writes scans with a cohort card, trains a small 3D U-Net, segments a folder of NIfTI files and
    a DICOM archive, and evaluates the held-out phantoms. Running it again resumes where it stopped.

    \b
    Example:
        medseg demo --output demo
    """
    from medseg.cli.calls import run_words

    started = time.monotonic()
    _open_folder(output)
    flags = {"--quiet": quiet, "--json": json, "--overwrite": overwrite}
    plain = [name for name, wanted in flags.items() if wanted]
    with (
        guard_file(output / _CONFIG, "demo", overwrite=overwrite),
        open_console(quiet=quiet, json=json) as console,
    ):
        cohort = _write_phantoms(output, console)
    for step in _steps(output, cohort, minutes, device):
        code = run_words(context.find_root().command, (*step, *plain))
        if code:
            raise typer.Exit(code)
    with open_console(quiet=quiet, json=json) as console:
        _report_end(output, console, time.monotonic() - started)


def _steps(output: Path, cohort: Path, minutes: float, device: str) -> list[tuple[object, ...]]:
    """The verbs that the demo runs, as words of the command line."""
    run, masks, archive_masks = output / "run", output / "masks", output / "masks_of_archive"
    where = ("--device", device)
    alone = (*where, "--executor", "inline")
    length = f"training.minutes={minutes}"
    curves = ("--curves", run / "curves.csv")
    return [
        ("train", output / _CONFIG, length, "--output", run, "--resume", *where),
        ("segment", run / "model", output / "scans", "--output", masks, *alone),
        ("segment", run / "model", output / "archive", "--output", archive_masks, *alone),
        ("evaluate", masks, cohort, "--output", output / "evaluation", *curves),
    ]


def _open_folder(output: Path) -> None:
    """Refuse to write among files of others, or where nothing can be written."""
    from medseg.writers.guard import require_writable

    require_writable(output)
    if any(output.iterdir()) and not (output / _MARK).exists():
        raise BadOutput(
            "the folder holds something else",
            path=output,
            remedy="Choose an empty folder with --output.",
        )
    (output / _MARK).touch()


def _write_phantoms(output: Path, console: Console) -> Path:
    """Cohort, held-out scans as a folder of NIfTI, and the same kind of patient as DICOM."""
    from medseg.manifests import load_cohort
    from medseg.phantoms import Population, write_phantom_archive, write_phantom_cohort
    from medseg.writers.atomic import atomic_path

    card = output / "phantoms/cohort.yaml"
    if not card.exists():
        population = Population(
            grids=("axial", "oblique"), spacing_mm=6.0, structures=STRUCTURES, seed=7
        )
        write_phantom_archive(output / "archive", population)
        write_phantom_cohort(
            card.parent, population, cases=CASES, progress=console.progress("drawing phantoms")
        )
    with atomic_path(output / _CONFIG) as temporary:
        shutil.copyfile(Path(__file__).with_suffix(".yaml"), temporary)
    _copy_scans(load_cohort(card).select(split="test"), output / "scans")
    return card


def _copy_scans(held_out: Cohort, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for case in held_out.cases:
        for source in case.sources:
            if not (folder / source.name).exists():
                shutil.copyfile(source, folder / source.name)


def _report_end(output: Path, console: Console, seconds: float) -> None:
    """Where everything is, and the number that matters."""
    with (output / "evaluation/summary.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "dice"]
    for row in rows:
        console.say(
            f"  Dice {row['label']:<14} {float(row['mean']):.3f}"
            f"  (95 % interval {float(row['ci_low']):.3f} to {float(row['ci_high']):.3f},"
            f" {row['n']} scans)",
            label=row["label"],
            dice=float(row["mean"]),
        )
    console.say(f"done in {duration(seconds)}", seconds=seconds)
    for what, where in {
        "masks of the NIfTI folder ": "masks",
        "masks of the DICOM archive": "masks_of_archive",
        "the model                 ": "run/model",
        "the report                ": "evaluation/report.html",
    }.items():
        console.say(f"  {what}  {output / where}", path=str(output / where))
