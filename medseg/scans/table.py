"""The table ``scans.csv``: its columns, and the scans that an edited one selects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.errors import BadConfig
from medseg.geometry import Geometry
from medseg.names import safe_name
from medseg.progress import Progress
from medseg.readers.entry import Status
from medseg.scans.discover import discover
from medseg.scans.found import FoundScan
from medseg.scans.selection import Selection
from medseg.tables import csv_columns, csv_text, printable, read_csv

COLUMNS = (
    "case",
    "status",
    "reason",
    "source",
    "warnings",
    "modality",
    "shape",
    "spacing_mm",
    "orientation",
    "files",
    "volumes",
    "volume",
    "group",
    "channel",
    "scan",
    "id",
)


def row(scan: FoundScan, argument: str) -> dict[str, str]:
    """One line of the table.

    Args:
        scan: what was found.
        argument: the place where it was found, as the user named it.
    """
    grid = grid_columns(scan.geometry) if scan.geometry else {}
    return {
        "case": scan.case,
        "status": scan.status,
        "reason": line(scan.reason),
        "source": line(scan.source),
        "warnings": line("; ".join(scan.warnings)),
        "modality": line(scan.modality),
        "shape": grid.get("shape", ""),
        "spacing_mm": grid.get("spacing_mm", ""),
        "orientation": grid.get("orientation", ""),
        "files": str(scan.files),
        "volumes": str(scan.volumes),
        "volume": "" if scan.volume is None else str(scan.volume),
        "group": line(scan.group),
        "channel": line(scan.channel),
        "scan": argument,
        "id": scan.case,
    }


def grid_columns(geometry: Geometry) -> dict[str, str]:
    """What the table says of a grid."""
    return {
        "shape": "x".join(map(str, geometry.shape)),
        "spacing_mm": "x".join(f"{mm:.5g}" for mm in geometry.spacing_mm),
        "orientation": geometry.orientation,
    }


def identifiers(scan: FoundScan) -> dict[str, str]:
    """What names patient and study; only for ``--with-identifiers``."""
    return dict(scan.content.identifiers())


def line(text: str) -> str:
    """Text on one line that any encoding takes."""
    return "".join(c if c.isprintable() else " " for c in printable(text))


def table_text(rows: Iterable[Mapping[str, str]]) -> str:
    """The table as CSV."""
    rows = list(rows)
    columns = list(dict.fromkeys([*COLUMNS, *(column for one in rows for column in one)]))
    return csv_text(columns, rows)


def is_table(path: Path) -> bool:
    """Whether a file is a table of scans."""
    try:
        return (
            path.suffix.lower() == ".csv"
            and path.is_file()
            and {"case", "status", "source"} <= set(csv_columns(path))
        )
    except OSError:
        return False


def scans_of_table(
    path: Path,
    *,
    root: Path | None = None,
    selection: Selection | None = None,
    progress: Progress | None = None,
    without: Path | None = None,
) -> list[tuple[FoundScan, str]]:
    """The scans that an edited table asks for, each with the argument it was found under.

    A row asks for its scan unless its status says ``skipped`` or ``refused``; a row with a
    ``volume`` asks for that one. A row finds its scan by ``scan`` and ``source``, series of one
    folder by ``id``; ``case`` may be renamed. Scans that no row names any more come as skipped.
    What stands in the columns ``group`` and ``channel`` goes with the scan.

    Raises:
        BadConfig: the table cannot be understood.
        BadScan: a place that it names is gone.
    """
    columns, lines = read_csv(path)
    rows = [dict(one.cells) for one in lines]
    if "scan" not in columns:
        raise BadConfig(
            "the table does not say where its scans lie",
            path=path,
            expected="a column `scan`, as `medseg convert --dry-run` writes it",
        )
    scans_of_rows: list[tuple[FoundScan, str]] = []
    for argument in dict.fromkeys(one["scan"] for one in rows):
        place = _place(argument, path, root)
        scans = discover(place, progress=progress, without=without)
        request = _Request([one for one in rows if one["scan"] == argument], scans)
        for scan in scans:
            chosen = [
                (_as_requested(one_scan, one), argument)
                for one in request.of(scan)
                for one_scan in _chosen(scan, one, selection or Selection())
            ]
            volumes = request.volumes(scan)
            chosen += [(_as_requested(volume, one), argument) for volume, one in volumes]
            scans_of_rows += chosen or [(_unlisted(scan), argument)]
        scans_of_rows += [
            (_gone(one), argument)
            for one in request.left()
            if one["status"] not in (Status.SKIPPED, Status.REFUSED)
        ]
    return scans_of_rows


class _Request:
    """The rows of a table under one argument, handed out to the scans that they mean."""

    def __init__(self, rows: Sequence[dict[str, str]], scans: Sequence[FoundScan]) -> None:
        self._rows = list(rows)
        self._names = {scan.case for scan in scans if scan.content.described}
        self._sources: dict[str, int] = {}
        for scan in scans:
            source = line(scan.source)
            self._sources[source] = self._sources.get(source, 0) + 1

    def of(self, scan: FoundScan) -> list[dict[str, str]]:
        """The rows of a scan, which are then spent."""
        source = line(scan.source)
        if not scan.content.described:
            return self._take(lambda row: row["source"] == source)
        own = self._take(lambda row: scan.case in (row.get("id"), row["case"]))
        if own or self._sources[source] > 1:
            return own
        known = self._names | {volume.case for volume in _volumes(scan)}
        return self._take(
            lambda row: (
                row["source"] == source and not {row.get("id") or row["case"], row["case"]} & known
            )
        )

    def volumes(self, scan: FoundScan) -> list[tuple[FoundScan, dict[str, str]]]:
        """The volumes of a series that rows name by the volumes' own cases."""
        return [(volume, row) for volume in _volumes(scan) for row in self._named(volume.case)]

    def left(self) -> list[dict[str, str]]:
        """Rows whose scans are not there."""
        return self._rows

    def _named(self, case: str) -> list[dict[str, str]]:
        return self._take(lambda row: case in (row.get("id"), row["case"]))

    def _take(self, fits: Callable[[dict[str, str]], bool]) -> list[dict[str, str]]:
        taken = [row for row in self._rows if fits(row)]
        self._rows = [row for row in self._rows if not fits(row)]
        return taken


def _volumes(scan: FoundScan) -> list[FoundScan]:
    """The volumes of a scan that holds several."""
    if scan.volumes < 2:
        return []
    return [scan.volume_number(number) for number in range(scan.volumes)]


def _place(argument: str, table: Path, root: Path | None) -> Path:
    if root is not None:
        return root
    place = Path(argument)
    beside = table.parent / argument
    return beside if not place.exists() and beside.exists() else place


def _chosen(scan: FoundScan, row: dict[str, str], selection: Selection) -> Iterable[FoundScan]:
    """The scan as its row asks for it."""
    volume = row.get("volume", "").strip()
    if volume and scan.choosable:
        yield from _numbered(scan, volume)
    elif (
        row["status"] not in (Status.SKIPPED, Status.REFUSED)
        and scan.status == Status.SKIPPED
        and scan.choosable
    ):
        yield scan.volume_number(0)
    elif row["status"] in (Status.SKIPPED, Status.REFUSED) and scan.status == Status.USABLE:
        yield replace(scan, status=Status.SKIPPED, reason="not selected: the table says so")
    else:
        yield from selection.apply(scan)


def _numbered(scan: FoundScan, volume: str) -> Iterable[FoundScan]:
    if volume == "all":
        return [scan.volume_number(number) for number in range(scan.volumes)]
    if not volume.isdigit():
        return [replace(scan, status=Status.REFUSED, reason=f"{volume[:20]!r} is no volume number")]
    return [scan.volume_number(int(volume))]


def _as_requested(scan: FoundScan, row: dict[str, str]) -> FoundScan:
    """The scan with the name, group and channel of its row, as far as the table has them."""
    group, channel = (row.get(name) or "" for name in ("group", "channel"))
    case = row["case"] if _is_renamed(scan, row) else scan.case
    return replace(
        scan, case=safe_name(case) if case else "", group=group or scan.group, channel=channel
    )


def _is_renamed(scan: FoundScan, row: dict[str, str]) -> bool:
    """Whether the name of a row is the user's; a spreadsheet makes 7 of 007 and 1E5 of 1e5."""
    own = row.get("id") or scan.case
    if not row["case"] or not scan.case or row["case"] == own or row.get("volume") == "all":
        return False
    try:
        return float(row["case"].replace(",", ".")) != float(own)
    except ValueError:
        return True


def _unlisted(scan: FoundScan) -> FoundScan:
    if scan.status != Status.USABLE:
        return scan
    return replace(scan, status=Status.SKIPPED, reason="not selected: not in the table")


def _gone(row: dict[str, str]) -> FoundScan:
    return FoundScan(
        row["case"],
        row["source"],
        Status.REFUSED,
        "the table names it, but it is not there any more",
    )
