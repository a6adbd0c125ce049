"""The table ``scans.csv``: its columns, and the scans that an edited one asks for."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from medseg.errors import BadConfig
from medseg.geometry import Geometry
from medseg.readers.entry import Status
from medseg.scans.discover import Progress, discover
from medseg.scans.found import FoundScan
from medseg.scans.selection import Selection

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
    told = "".join(c if c.isprintable() else " " for c in text)
    return told.encode("utf-8", "replace").decode("utf-8")


def table_text(rows: Iterable[dict[str, str]]) -> str:
    """The table as CSV."""
    rows = list(rows)
    columns = list(dict.fromkeys([*COLUMNS, *(column for one in rows for column in one)]))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def is_table(path: Path) -> bool:
    """Whether a file is a table of scans."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as lines:
        head = lines.readline().strip().split(",")
    return {"case", "status", "source"} <= set(head)


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
    ``volume`` asks for that one. Scans that no row names any more come as skipped. What stands in
    the columns ``group`` and ``channel`` goes with the scan.

    Raises:
        BadConfig: the table cannot be understood.
        BadScan: a place that it names is gone.
    """
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    if rows and "scan" not in rows[0]:
        raise BadConfig(
            "the table does not tell where its scans lie",
            path=path,
            expected="a column `scan`, as `medseg convert --dry-run` writes it",
        )
    found: list[tuple[FoundScan, str]] = []
    for argument in dict.fromkeys(one["scan"] for one in rows):
        asked: dict[str, list[dict[str, str]]] = {}
        for one in rows:
            if one["scan"] == argument:
                asked.setdefault(one["case"] or one["source"], []).append(one)
        place = _place(argument, path, root)
        for scan in discover(place, progress=progress, without=without):
            wanted = asked.pop(scan.case or scan.source, [])
            volumes = _asked_volumes(scan, asked)
            found += [
                (_as_told(chosen, one), argument)
                for one in wanted
                for chosen in _chosen(scan, one, selection or Selection())
            ]
            found += [(_as_told(chosen, one), argument) for chosen, one in volumes]
            if not wanted and not volumes:
                found.append((_unlisted(scan), argument))
        found += [
            (_gone(one[0]), argument)
            for one in asked.values()
            if one[0]["status"] not in (Status.SKIPPED, Status.REFUSED)
        ]
    return found


def _place(argument: str, table: Path, root: Path | None) -> Path:
    if root is not None:
        return root
    place = Path(argument)
    beside = table.parent / argument
    return beside if not place.exists() and beside.exists() else place


def _chosen(scan: FoundScan, asked: dict[str, str], selection: Selection) -> Iterable[FoundScan]:
    """The scan as its row asks for it."""
    volume = asked.get("volume", "").strip()
    if volume and scan.choosable:
        yield from _numbered(scan, volume)
    elif (
        asked["status"] not in (Status.SKIPPED, Status.REFUSED)
        and scan.status == Status.SKIPPED
        and scan.choosable
    ):
        yield scan.volume_number(0)
    elif asked["status"] in (Status.SKIPPED, Status.REFUSED) and scan.status == Status.USABLE:
        yield replace(scan, status=Status.SKIPPED, reason="not selected: the table says so")
    else:
        yield from selection.apply(scan)


def _numbered(scan: FoundScan, volume: str) -> Iterable[FoundScan]:
    if volume == "all":
        return [scan.volume_number(number) for number in range(scan.volumes)]
    if not volume.isdigit():
        return [replace(scan, status=Status.REFUSED, reason=f"{volume[:20]!r} is no volume number")]
    return [scan.volume_number(int(volume))]


def _as_told(scan: FoundScan, row: dict[str, str]) -> FoundScan:
    """The scan with the group and channel of its row; tables without these columns tell nothing."""
    group, channel = (row.get(name) or "" for name in ("group", "channel"))
    return replace(scan, group=group.strip() or scan.group, channel=channel.strip())


def _asked_volumes(
    scan: FoundScan, asked: dict[str, list[dict[str, str]]]
) -> list[tuple[FoundScan, dict[str, str]]]:
    """The volumes of a series that rows name by the volumes' own cases."""
    if scan.volumes < 2:
        return []
    volumes = [scan.volume_number(number) for number in range(scan.volumes)]
    return [(volume, rows[0]) for volume in volumes if (rows := asked.pop(volume.case, None))]


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
