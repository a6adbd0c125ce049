"""``medseg convert``: any scan or archive to NIfTI on its own grid, or the reason why not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medseg.cli.console import (
    DONE,
    SOME_FAILED,
    Console,
    Interrupted,
    Json,
    ProgressCallback,
    Quiet,
    open_console,
)
from medseg.errors import BadConfig, BadOutput, MedsegError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from medseg.readers.values import NonFinite
    from medseg.scans import FoundScan, Selection

#: Volumes in memory at a time: one is written while the next is read.
_AT_A_TIME = 2
#: Refusals named on standard error; the table has all.
_MOST_TOLD = 20

_Row = dict[str, str]


def convert(
    scans: Annotated[
        list[Path],
        typer.Argument(metavar="SCAN…", help="Files, folders, archives or an edited scans.csv."),
    ],
    output: Annotated[Path, typer.Option("--output", help="Folder for volumes and scans.csv.")],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only look, and write the table.")
    ] = False,
    modality: Annotated[
        str | None, typer.Option(metavar="CT|MR|…", help="Only scans of this modality.")
    ] = None,
    description: Annotated[
        str | None,
        typer.Option(metavar="PATTERN", help="Only series so described, such as '*T1*'."),
    ] = None,
    min_slices: Annotated[
        int | None, typer.Option(min=1, help="Only scans with as many slices.")
    ] = None,
    orientation: Annotated[
        Literal["axial", "coronal", "sagittal"] | None,
        typer.Option(help="Only scans with slices in this plane."),
    ] = None,
    volume: Annotated[
        str | None,
        typer.Option(metavar="N|all", help="Which volume, from 0, of scans that hold several."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Where a table's scans lie now, if they were moved.")
    ] = None,
    nonfinite: Annotated[
        Literal["keep", "replace"],
        typer.Option(
            help="NaN and infinite voxels: kept, or replaced by the smallest finite value."
        ),
    ] = "keep",
    with_identifiers: Annotated[
        bool,
        typer.Option(
            "--with-identifiers",
            help="Add patient and study names, ids, dates and descriptions to scans.csv.",
        ),
    ] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Convert scans to NIfTI on their own grid; every series found gets a row in scans.csv.

    Nothing is resampled and nothing is guessed: a damaged or ambiguous series is refused with
    the reason. Voxels that are NaN or infinite stay so, and their number is told; a network never
    sees them. Exit code 1 tells that something was refused, or nothing was usable.

    \b
    Example:
        medseg convert archive study.zip --output volumes
        medseg convert archive --dry-run --output look      (edit look/scans.csv)
        medseg convert look/scans.csv --output volumes
    """
    from medseg.readers.values import NonFinite
    from medseg.scans.selection import Selection

    kept = NonFinite.KEEP if nonfinite == "keep" else NonFinite.SMALLEST
    selection = Selection(modality, description, min_slices, orientation, _volume(volume))
    with open_console(quiet=quiet, json=json) as console:
        found = _find(scans, selection, root, output, console.progress("looking"))
        rows: list[_Row] = []
        try:
            for row in _converted(found, output, dry_run, kept, console.progress("converting")):
                rows.append(row)
        except KeyboardInterrupt:
            _write_table(rows, found, output, with_identifiers)
            raise Interrupted(
                f"{len(rows)} of {len(found)} scans are in {output / 'scans.csv'}."
            ) from None
        _write_table(rows, found, output, with_identifiers)
        _tell(rows, output, console)
    raise typer.Exit(_exit_code(rows))


def _volume(text: str | None) -> int | str | None:
    if text is None or text == "all":
        return text
    if not text.isdigit():
        raise BadConfig("no such volume", found=repr(text), expected="a number from 0, or all")
    return int(text)


def _find(
    arguments: list[Path],
    selection: Selection,
    root: Path | None,
    output: Path,
    progress: ProgressCallback,
) -> list[tuple[FoundScan, str]]:
    """Every scan under every argument, with the argument; cases are unique over all."""
    from dataclasses import replace

    from medseg.scans import scans_of
    from medseg.scans.names import unique_cases

    listed = scans_of(arguments, root=root, selection=selection, progress=progress, without=output)
    cases = unique_cases([one.scan.case for one in listed])
    return [
        (replace(one.scan, case=case), str(one.place))
        for one, case in zip(listed, cases, strict=True)
    ]


def _converted(
    found: list[tuple[FoundScan, str]],
    output: Path,
    dry_run: bool,
    nonfinite: NonFinite,
    progress: ProgressCallback,
) -> Iterator[_Row]:
    """A row for every scan, converted or not, in the order found."""
    from concurrent.futures import ThreadPoolExecutor

    from medseg.scans.table import row

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        jobs: list[Future[_Row] | None] = [
            pool.submit(_convert_one, scan, argument, output, nonfinite)
            if scan.status == "usable" and not dry_run
            else None
            for scan, argument in found
        ]
        try:
            for done, ((scan, argument), job) in enumerate(zip(found, jobs, strict=True), 1):
                yield row(scan, argument) if job is None else job.result()
                progress(done, len(found))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _convert_one(scan: FoundScan, argument: str, output: Path, nonfinite: NonFinite) -> _Row:
    """Read and write one scan; whatever is wrong with it stays its own."""
    from dataclasses import replace

    from medseg.errors import NotAVolume
    from medseg.readers.entry import Status
    from medseg.scans.table import row
    from medseg.writers import write_volume

    try:
        volume = scan.read(nonfinite=nonfinite)
        write_volume(volume, output / f"{scan.case}.nii.gz")
    except BadOutput:
        raise
    except NotAVolume as error:
        return row(replace(scan, status=Status.SKIPPED, reason=str(error)), argument)
    except MedsegError as error:
        return row(replace(scan, status=Status.REFUSED, reason=str(error)), argument)
    except Exception as error:  # noqa: BLE001 - one scan's fault must not stop the others
        reason = f"unforeseen {type(error).__name__}; please report it"
        return row(replace(scan, reason=reason), argument) | {"status": "failed"}
    converted = replace(scan, geometry=volume.geometry, warnings=volume.origin.warnings)
    return row(converted, argument) | {"status": "converted"}


def _write_table(
    rows: list[_Row], found: list[tuple[FoundScan, str]], output: Path, with_identifiers: bool
) -> None:
    from medseg.scans.table import identifiers, table_text
    from medseg.writers.atomic import atomic_path

    if with_identifiers:
        rows = [row | identifiers(scan) for row, (scan, _) in zip(rows, found, strict=False)]
    with atomic_path(output / "scans.csv") as path:
        path.write_text(table_text(rows), encoding="utf-8")


def _tell(rows: list[_Row], output: Path, console: Console) -> None:
    """What became of the scans: counts on standard output, reasons on standard error."""
    counts = {
        status: sum(row["status"] == status for row in rows)
        for status in ("converted", "usable", "skipped", "refused", "failed")
    }
    unusable = [row for row in rows if row["status"] in ("refused", "failed")]
    for row in unusable[:_MOST_TOLD]:
        console.warn(f"{row['status']} {_name(row)}: {row['reason']}", **row)
    if len(unusable) > _MOST_TOLD:
        console.warn(f"… and {len(unusable) - _MOST_TOLD} more, all in {output / 'scans.csv'}")
    for row in rows:
        if row["status"] in ("converted", "usable"):
            text = f"{row['case']}: {row['shape']} voxels of {row['spacing_mm']} mm"
            console.say(text + (f" · {row['warnings']}" if row["warnings"] else ""), **row)
        elif row["status"] == "skipped":
            console.say(f"skipped {_name(row)}: {row['reason']}", **row)
    told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    console.say(f"{told or 'nothing found'}; see {output / 'scans.csv'}", counts=counts)
    if not counts["converted"] + counts["usable"]:
        console.warn("nothing usable was found: no readable image, or none that was selected")


def _name(row: _Row) -> str:
    return row["scan"] if row["source"] == "." else row["source"]


def _exit_code(rows: list[_Row]) -> int:
    statuses = {row["status"] for row in rows}
    usable = statuses & {"converted", "usable"}
    return SOME_FAILED if statuses & {"refused", "failed"} or not usable else DONE
