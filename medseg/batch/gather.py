"""Which cases do the arguments of a batch name?  Files, folders, archives, cards and tables."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from medseg.batch.inputs import ChannelScan, CohortScan, relative
from medseg.batch.task import State, Task, Unusable
from medseg.manifests import Case, Cohort, load_cohort
from medseg.manifests.reading import file_of
from medseg.names import safe_name
from medseg.readers.entry import Status
from medseg.readers.sources import printable
from medseg.scans import Frames, ListedScan, Progress, scans_of
from medseg.scans.channels import Channels, ScanCase, into_cases
from medseg.scans.names import unique_cases

Found: TypeAlias = Task | Unusable

CARDS = (".yaml", ".yml")

#: Scans named in one line of a table.
_MOST_NAMED = 4


def gather(
    arguments: Sequence[Path],
    *,
    split: str | None = None,
    root: Path | None = None,
    channels: Channels | None = None,
    progress: Progress | None = None,
) -> list[Found]:
    """Every case under the arguments, each with a name of its own.

    Args:
        arguments: scans, folders, archives, cohort cards, tables of ``medseg convert``.
        split: rows of cohort cards; all of them when not given.
        root: where the files of cohort cards and tables lie when not where those say.
        channels: what the model sees of a case; every scan is a case of its own when not given.
        progress: of the search.

    Raises:
        BadScan: an argument does not exist.
        BadCohort: a card cannot be used.
    """
    found: list[tuple[Path, Found]] = []
    others: list[Path] = []
    for argument in arguments:
        if argument.suffix.lower() in CARDS:
            cohort = load_cohort(argument, root=root)
            cases = of_cohort(cohort, split=split, channels=channels)
            found += [(argument, case) for case in cases]
        else:
            others.append(argument)
    frames = (channels.frames if channels else None) or Frames.CHECK
    for case in into_cases(scans_of(others, root=root, progress=progress), channels):
        found.append((case.scans[0].argument, _of_scans(case, frames)))
    return _with_unique_names(found)


def of_cohort(
    cohort: Cohort, *, split: str | None = None, channels: Channels | None = None
) -> list[Found]:
    """The cases of a cohort; one whose files are missing is refused, not the cohort.

    The model's channels are taken by name where the card has them all; else in the card's order,
    with a warning, where as many are there.
    """
    chosen = cohort.select(split=split) if split else cohort
    names, warnings = _chosen_channels(chosen, channels)
    frames = channels.frames if channels else None
    scans = {
        case.case: CohortScan(chosen.with_cases((case,)), names, frames) for case in chosen.cases
    }
    if not names and channels is not None:
        return [
            _unfit(_of_case(chosen, case, scans[case.case], ()), chosen, channels)
            for case in chosen.cases
        ]
    return [_of_case(chosen, case, scans[case.case], warnings) for case in chosen.cases]


def _chosen_channels(
    cohort: Cohort, channels: Channels | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The cohort's channels in the model's order, empty where they do not fit; and a warning."""
    if channels is None:
        return (), ()
    own = {name.casefold(): name for name in cohort.channels}
    wanted = [name.casefold() for name in channels.names]
    if set(wanted) <= set(own):
        return tuple(own[name] for name in wanted), ()
    if len(own) != len(wanted):
        return (), ()
    if len(own) == 1:
        return cohort.channels, ()
    told = f"({', '.join(cohort.channels)}) were taken in this order for the model's"
    return cohort.channels, (f"the card's channels {told} ({channels.listed()})",)


def _unfit(found: Found, cohort: Cohort, channels: Channels) -> Unusable:
    reason = (
        f"the card has {len(cohort.channels)} channels ({', '.join(cohort.channels)}), the model "
        f"wants {len(channels.names)} ({channels.listed()})"
    )
    return Unusable(found.case, found.source, found.place, found.identity, State.REFUSED, reason)


def _of_case(cohort: Cohort, case: Case, scan: CohortScan, warnings: tuple[str, ...]) -> Found:
    files = [file_of(path) for path in case.sources]
    sources = ", ".join(relative(path, cohort.root) for path in case.sources)
    place = ", ".join(printable(str(path.absolute())) for path in case.sources)
    identity, size = _stamp(files)
    if scan.channels not in ((), cohort.channels) or scan.frames not in (None, Frames.CHECK):
        identity = f"{identity} as {', '.join(scan.channels)}, frames {scan.frames}"
    missing = [path for path in files if not path.exists()]
    if missing:
        reason = (
            f"no such file: {relative(missing[0], cohort.root)}. "
            "Check the table, or say with --root where its paths start."
        )
        return Unusable(case.case, sources, place, identity, State.REFUSED, reason)
    return Task(case.case, sources, place, identity, size, scan, warnings)


def _of_scans(case: ScanCase, frames: Frames) -> Found:
    """A task for scans that make a case; else why they do not."""
    stamps = [stamp_of(one) for one in case.scans]
    identity, size = ", ".join(stamp for stamp, _ in stamps), sum(size for _, size in stamps)
    places = ", ".join(printable(str(one.location)) for one in case.scans)
    first = case.scans[0].scan
    name = case.name or safe_name(first.source.replace("/", "_")) or "unnamed"
    if case.status != Status.USABLE:
        sources = _some([one.scan.source for one in case.scans])
        return Unusable(name, sources, places, identity, State(case.status), case.reason)
    sources = ", ".join(one.scan.source for one in case.scans)
    if not case.channels:
        return Task(name, sources, places, identity, size, first, first.warnings)
    scan = ChannelScan(tuple(one.scan for one in case.scans), case.channels, frames)
    identity = f"{identity} as {', '.join(case.channels)}, frames {frames}"
    return Task(name, sources, places, identity, size, scan)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def stamp_of(one: ListedScan) -> tuple[str, int]:
    """What changes when the files of a scan change, and their size."""
    sources = one.scan.content.sources
    digest = _digest([(s.member or s.name, s.size, s.changed_ns) for s in sources])
    if one.scan.volume is not None:
        digest = f"{digest} volume {one.scan.volume}"
    return digest, sum(source.size for source in sources)


def _with_unique_names(found: Sequence[tuple[Path, Found]]) -> list[Found]:
    """One case a name: a scan given twice counts once; others take folders of their argument along.

    As many folders as tell them apart; a number where none do.
    """
    seen: dict[tuple[str, str], tuple[Path, Found]] = {}
    for argument, case in found:
        seen.setdefault((case.case, case.place), (argument, case))
    distinct = list(seen.values())
    names = [case.case for _, case in distinct]
    most = max((len(_folders(argument)) for argument, _ in distinct), default=0)
    for depth in range(1, most + 1):
        uses = Counter(name.casefold() for name in names)
        if len(uses) == len(names):
            break
        names = [
            name
            if uses[name.casefold()] == 1
            else safe_name("_".join([*_folders(argument)[-depth:], case.case]))
            for name, (argument, case) in zip(names, distinct, strict=True)
        ]
    names = unique_cases(names)
    return [replace(case, case=name) for name, (_, case) in zip(names, distinct, strict=True)]


def _folders(argument: Path) -> tuple[str, ...]:
    place = argument.absolute()
    return (place if place.is_dir() else place.parent).parts[1:]


def _stamp(paths: Iterable[Path]) -> tuple[str, int]:
    """Identity and size of files and of everything in folders."""
    stamps = []
    for path in paths:
        for file in sorted(_files(path)):
            status = file.stat()
            stamps.append((file.name, status.st_size, status.st_mtime_ns))
    return _digest(stamps), sum(stamp[1] for stamp in stamps)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [
        Path(folder) / name
        for folder, _, names in os.walk(path, followlinks=True)
        for name in names
    ]


def _digest(stamps: Sequence[tuple[str, int, int]]) -> str:
    return hashlib.sha256(repr(sorted(stamps)).encode()).hexdigest()[:32]
