"""``medseg convert``: any scan or archive to NIfTI on its own grid, or a reason for refusal."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from medseg.cli.arguments import volume_choice
from medseg.cli.console import Console, open_console
from medseg.cli.exits import DONE, SOME_FAILED, Interrupted
from medseg.cli.options import CHOICE, VOLUME_HELP, BreakLock, Json, Overwrite, Quiet, Root

if TYPE_CHECKING:
    from medseg.progress import Progress
    from medseg.readers.values import NonFinite
    from medseg.scans import ListedScan, Selection

#: Refusals named on standard error; the table has all.
_MOST_REFUSALS = 20

_Row: TypeAlias = dict[str, str]
_Search: TypeAlias = "Callable[[Progress], list[ListedScan]]"


_Scans: TypeAlias = Annotated[
    list[Path],
    typer.Argument(metavar="SCAN…", help="Files, folders, archives or an edited scans.csv."),
]
_Output: TypeAlias = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for volumes and scans.csv.")
]
_DryRun: TypeAlias = Annotated[
    bool, typer.Option("--dry-run", help="Search and write the table only; convert nothing.")
]
_Modality: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="CT|MR|…", help="Only scans of this modality.", rich_help_panel=CHOICE),
]
_Description: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="PATTERN",
        help="Only series with this description, such as '*T1*'.",
        rich_help_panel=CHOICE,
    ),
]
_MinSlices: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, help="Only scans with at least this many slices.", rich_help_panel=CHOICE),
]
_Orientation: TypeAlias = Annotated[
    Literal["axial", "coronal", "sagittal"] | None,
    typer.Option(help="Only scans with slices in this plane.", rich_help_panel=CHOICE),
]
_Volume: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="N|all", help=VOLUME_HELP, rich_help_panel=CHOICE),
]
_Nonfinite: TypeAlias = Annotated[
    Literal["keep", "replace"],
    typer.Option(
        help="Keep NaN and infinite voxels, or replace them by the smallest finite value."
    ),
]
_WithIdentifiers: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--with-identifiers",
        help="Add patient and study names, ids, dates and descriptions to scans.csv.",
    ),
]


def convert(
    scans: _Scans,
    output: _Output,
    *,
    dry_run: _DryRun = False,
    modality: _Modality = None,
    description: _Description = None,
    min_slices: _MinSlices = None,
    orientation: _Orientation = None,
    volume: _Volume = None,
    root: Root = None,
    nonfinite: _Nonfinite = "keep",
    with_identifiers: _WithIdentifiers = False,
    overwrite: Overwrite = False,
    break_lock: BreakLock = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Convert scans to NIfTI on their own grid; every series found gets a row in scans.csv.

    Nothing is resampled and nothing is guessed: a damaged or ambiguous series is refused, with the
    reason. NaN and infinite voxels are kept and counted in a warning; a network never sees them.
    The exit code is 1 if a series was refused or none was usable.

    Worker processes read the scans: one that crashes, hangs or fills the memory affects no other.
    Run the same command again to resume after an interruption; ledger.sqlite records what is done.

    \b
    Example:
        medseg convert archive study.zip --output volumes
        medseg convert archive --dry-run --output look      (edit look/scans.csv)
        medseg convert look/scans.csv --output volumes
    """
    from medseg.batch.conversion import guarded_folder
    from medseg.config.kinds import refuse_no_scans
    from medseg.readers.values import NonFinite
    from medseg.scans.selection import Selection

    refuse_no_scans(scans)
    selection = Selection(modality, description, min_slices, orientation, volume_choice(volume))
    search = partial(_find, scans, selection, root, output)
    with (
        guarded_folder(output, scans, overwrite=overwrite),
        open_console(quiet=quiet, json=json) as console,
    ):
        if dry_run:
            rows = _look(search, output, with_identifiers, console)
        else:
            rows = _convert(
                search,
                output,
                with_identifiers,
                console,
                nonfinite=NonFinite.KEEP if nonfinite == "keep" else NonFinite.SMALLEST,
                overwrite=overwrite,
                break_lock=break_lock,
            )
        _report(rows, output, console)
    raise typer.Exit(_exit_code(rows))


def _find(
    arguments: list[Path],
    selection: Selection,
    root: Path | None,
    output: Path,
    progress: Progress,
) -> list[ListedScan]:
    """Every scan under every argument; cases are unique over all."""
    from dataclasses import replace

    from medseg.batch.gather import stamp_of
    from medseg.batch.ledger import remembered
    from medseg.scans import scans_of
    from medseg.scans.names import Wish, stable_names

    listed = scans_of(arguments, root=root, selection=selection, progress=progress, without=output)
    wishes = [
        Wish(one.key, one.scan.case, stamp_of(one)[0], one.is_listed and bool(one.scan.case))
        for one in listed
    ]
    cases = stable_names(wishes, remembered(output))
    return [
        replace(one, scan=replace(one.scan, case=case))
        for one, case in zip(listed, cases, strict=True)
    ]


def _look(search: _Search, output: Path, with_identifiers: bool, console: Console) -> list[_Row]:
    """Only the table."""
    from medseg.batch.conversion import write_table

    rows = _rows(search(console.progress("looking")), with_identifiers)
    write_table(rows, output)
    return rows


def _convert(
    search: _Search,
    output: Path,
    with_identifiers: bool,
    console: Console,
    *,
    nonfinite: NonFinite,
    overwrite: bool,
    break_lock: bool,
) -> list[_Row]:
    """Volumes and the table."""
    from medseg.batch.conversion import convert_scans, held_folder
    from medseg.batch.runner import Listener

    with held_folder(output, break_lock=break_lock) as executor:
        listed = search(console.progress("looking"))
        listener = Listener(
            progress=console.progress("converting"),
            notice=console.warn,
            trouble=lambda text: None,  # reported with all others at the end
        )
        rows = _rows(listed, with_identifiers)
        result = convert_scans(
            listed,
            rows,
            output,
            executor,
            nonfinite=nonfinite,
            overwrite=overwrite,
            listener=listener,
        )
    for remark in result.remarks:
        console.warn(remark)
    if result.interrupted:
        done = sum(row["status"] == "converted" for row in result.rows)
        raise Interrupted(
            f"{done} scans are converted; {output / 'scans.csv'} lists all {len(rows)}. "
            "Run the same command again to resume."
        )
    return list(result.rows)


def _rows(listed: list[ListedScan], with_identifiers: bool) -> list[_Row]:
    """The table of what was found."""
    from medseg.scans.table import identifiers, row

    rows = [row(one.scan, str(one.place)) for one in listed]
    if with_identifiers:
        rows = [row | identifiers(one.scan) for row, one in zip(rows, listed, strict=True)]
    return rows


def _report(rows: list[_Row], output: Path, console: Console) -> None:
    """What became of the scans: counts on standard output, reasons on standard error."""
    counts = {
        status: sum(row["status"] == status for row in rows)
        for status in ("converted", "usable", "skipped", "refused", "failed")
    }
    unusable = [row for row in rows if row["status"] in ("refused", "failed")]
    for row in unusable[:_MOST_REFUSALS]:
        console.warn(f"{row['status']} {_name(row)}: {row['reason']}", **row)
    if len(unusable) > _MOST_REFUSALS:
        console.warn(f"… and {len(unusable) - _MOST_REFUSALS} more, all in {output / 'scans.csv'}")
    for row in rows:
        if row["status"] in ("converted", "usable"):
            text = f"{row['case']}: {row['shape']} voxels of {row['spacing_mm']} mm"
            console.say(text + (f" · {row['warnings']}" if row["warnings"] else ""), **row)
        elif row["status"] == "skipped":
            console.say(f"skipped {_name(row)}: {row['reason']}", **row)
    summary = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    console.say(f"{summary or 'nothing found'}; see {output / 'scans.csv'}", counts=counts)
    if not counts["converted"] + counts["usable"]:
        console.warn("nothing usable was found: no readable image, or none that was selected")


def _name(row: _Row) -> str:
    return row["scan"] if row["source"] == "." else row["source"]


def _exit_code(rows: list[_Row]) -> int:
    statuses = {row["status"] for row in rows}
    usable = statuses & {"converted", "usable"}
    return SOME_FAILED if statuses & {"refused", "failed"} or not usable else DONE
