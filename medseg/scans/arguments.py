"""Every scan that the arguments of a command name: files, folders, archives, tables of scans."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import BadScan
from medseg.progress import Progress
from medseg.scans.discover import discover
from medseg.scans.found import FoundScan
from medseg.scans.selection import Selection
from medseg.scans.table import is_table, scans_of_table


@dataclass(frozen=True, eq=False)
class ListedScan:
    """A scan and the argument that named it.

    Attributes:
        scan: usable or not.
        place: the file, folder or archive it was found under, as the user or a table names it.
        argument: of the command: the same, or the table that names the place.
    """

    scan: FoundScan
    place: Path
    argument: Path

    @property
    def location(self) -> Path:
        """The absolute path of the scan's file, or of the folder or archive that holds it."""
        base = (self.place if self.scan.path == Path() else self.scan.path).absolute()
        return base / self.scan.source if base.is_dir() else base

    @property
    def key(self) -> str:
        """What the scan is called in memory: a series by its hash, a file by its whole path.

        It depends neither on what lies beside the scan nor on the argument that named it.
        """
        scan = self.scan
        if scan.content.described and scan.case:
            return scan.case
        number = "" if scan.volume is None else f"#{scan.volume}"
        for source in scan.content.sources:
            return f"{os.path.abspath(source.path)}|{source.member}{number}"  # noqa: PTH100
        return f"{self.location}|{scan.source}{number}"

    @property
    def is_listed(self) -> bool:
        """Whether a table of the user's names the scan, and so its case."""
        return self.place != self.argument


def require_place(path: Path) -> None:
    """Refuse what is neither a file nor a folder: a pipe would be waited for for ever.

    Raises:
        BadScan: there is no such place, or nothing to read there.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise BadScan("no such file or folder", path=path, remedy="Check the path.") from None
    except (OSError, ValueError) as error:
        raise BadScan("cannot be read", path=path, found=error, remedy="Check the path.") from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise BadScan("neither a file nor a folder", path=path, remedy="Check the path.")


def scans_of(
    arguments: Sequence[Path],
    *,
    root: Path | None = None,
    selection: Selection | None = None,
    progress: Progress | None = None,
    without: Path | None = None,
) -> list[ListedScan]:
    """Every scan under the arguments, usable or not, in their order.

    Args:
        arguments: files, folders, archives, edited tables of ``medseg convert``.
        root: where the files of tables lie when not where those say.
        selection: which scans and volumes are wanted; the others come as skipped.
        progress: called with the number of files looked at.
        without: a folder to leave out, such as the one that results go to.

    Raises:
        BadScan: an argument does not exist.
        BadConfig: a table cannot be understood.
    """
    listed: list[ListedScan] = []
    for argument in arguments:
        require_place(argument)
        if is_table(argument):
            chosen = scans_of_table(
                argument, root=root, selection=selection, progress=progress, without=without
            )
            listed += [ListedScan(scan, Path(place), argument) for scan, place in chosen]
        else:
            scans = discover(argument, selection=selection, progress=progress, without=without)
            listed += [ListedScan(scan, argument, argument) for scan in scans]
    return listed
