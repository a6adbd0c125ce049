"""The cases that the arguments of a batch name: files, folders, archives, cards and tables."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from medseg.batch.inputs import ChannelScan, CohortScan, relative
from medseg.batch.task import PLACES, State, Task, Unusable
from medseg.errors import BadScan
from medseg.manifests import Case, Cohort, load_cohort
from medseg.manifests.reading import file_of
from medseg.names import safe_name
from medseg.progress import Progress
from medseg.readers.entry import Status
from medseg.readers.parts import state_of
from medseg.readers.sources import printable
from medseg.scans import Frames, ListedScan, Selection, scans_of
from medseg.scans.arguments import require_place
from medseg.scans.channels import Channels, ScanCase, into_cases
from medseg.scans.names import Named, Wish, stable_names

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
    selection: Selection | None = None,
    progress: Progress | None = None,
    without: Path | None = None,
    known: Named | None = None,
) -> list[Found]:
    """Every case under the arguments, each with a name of its own.

    Args:
        arguments: scans, folders, archives, cohort cards, tables of ``medseg convert``.
        split: rows of cohort cards; all of them when not given.
        root: where the files of cohort cards and tables lie when not where those say.
        channels: what the model sees of a case; every scan is a case of its own when not given.
        selection: which scans and volumes are wanted.
        progress: of the search.
        without: the output folder, whose files are no scans.
        known: the names that the output folder remembers.

    Raises:
        BadScan: an argument does not exist.
        BadCohort: a card cannot be used.
    """
    unnamed: list[_Unnamed] = []
    others: list[Path] = []
    for argument in arguments:
        if argument.suffix.lower() in CARDS:
            require_place(argument)
            cohort = load_cohort(argument, root=root)
            cases = of_cohort(cohort, split=split, channels=channels)
            unnamed += [
                _Unnamed(replace(c, key=f"{c.case} {c.place}"), is_fixed=True) for c in cases
            ]
        else:
            others.append(argument)
    frames = (channels.frames if channels else None) or Frames.CHECK
    listed = scans_of(others, root=root, selection=selection, progress=progress, without=without)
    for case in into_cases(listed, channels):
        one = _of_scans(case, frames)
        key = " + ".join(scan.key for scan in case.scans[:_MOST_NAMED])
        listed_by_user = case.scans[0].is_listed and isinstance(one, Task)
        unnamed.append(_Unnamed(replace(one, key=key), listed_by_user))
    return _with_stable_names(unnamed, known or Named())


@dataclass(frozen=True)
class _Unnamed:
    """A case with the name that it would have alone.

    Attributes:
        case: as found.
        is_fixed: whether the user gave that name.
    """

    case: Found
    is_fixed: bool


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
    order = f"({', '.join(cohort.channels)}) were taken in this order for the model's"
    return cohort.channels, (f"the card's channels {order} ({channels.listed()})",)


def _unfit(case: Found, cohort: Cohort, channels: Channels) -> Unusable:
    reason = (
        f"the card has {len(cohort.channels)} channels ({', '.join(cohort.channels)}), the model "
        f"wants {len(channels.names)} ({channels.listed()})"
    )
    return Unusable(case.case, case.source, case.place, case.identity, State.REFUSED, reason)


def _of_case(cohort: Cohort, case: Case, scan: CohortScan, warnings: tuple[str, ...]) -> Found:
    sources = ", ".join(relative(path, cohort.root) for path in case.sources)
    place = PLACES.join(printable(str(path.absolute())) for path in case.sources)

    def refused(reason: str, identity: str = "") -> Unusable:
        return Unusable(case.case, sources, place, identity, State.REFUSED, reason)

    try:
        files = [file_of(path) for path in case.sources]
        missing = [path for path in files if not path.exists()]
        for path in files:
            if path not in missing:
                require_place(path)
        identity, size, touched = _stamp(files)
    except BadScan as error:
        return refused(error.problem)
    except (OSError, ValueError) as error:
        return refused(f"cannot be read: {getattr(error, 'strerror', None) or error}")
    if missing:
        return refused(
            f"no such file: {relative(missing[0], cohort.root)}. "
            "Check the table, or say with --root where its paths start.",
            identity,
        )
    if scan.channels not in ((), cohort.channels) or scan.frames not in (None, Frames.CHECK):
        identity = f"{identity} as {', '.join(scan.channels)}, frames {scan.frames}"
    return Task(case.case, sources, place, identity, size, scan, warnings, touched=touched)


def _of_scans(case: ScanCase, frames: Frames) -> Found:
    """A task for scans that make a case; else why they do not."""
    stamps = [stamp_of(one) for one in case.scans]
    identity, size = ", ".join(stamp for stamp, _ in stamps), sum(size for _, size in stamps)
    places = PLACES.join(printable(str(one.location)) for one in case.scans)
    first = case.scans[0].scan
    name = case.name or safe_name(first.source.replace("/", "_")) or "unnamed"
    if case.status != Status.USABLE:
        sources = _some([one.scan.source for one in case.scans])
        return Unusable(name, sources, places, identity, State(case.status), case.reason)
    sources = ", ".join(one.scan.source for one in case.scans)
    touched = ", ".join(map(touch_of, case.scans))
    if not case.channels:
        return Task(name, sources, places, identity, size, first, first.warnings, touched=touched)
    scan = ChannelScan(tuple(one.scan for one in case.scans), case.channels, frames)
    identity = f"{identity} as {', '.join(case.channels)}, frames {frames}"
    return Task(name, sources, places, identity, size, scan, touched=touched)


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


def touch_of(one: ListedScan) -> str:
    """What changes whenever the file system touches the files of a scan."""
    return _digest([(s.name, s.size, s.status_ns) for s in one.scan.content.sources])


def _with_stable_names(unnamed: Sequence[_Unnamed], known: Named) -> list[Found]:
    """One case a name; a scan given twice counts once, copies of one series are numbered."""
    seen: dict[tuple[str, str], _Unnamed] = {}
    for one in unnamed:
        seen.setdefault((one.case.key, one.case.place), one)
    keys: set[str] = set()
    distinct: list[_Unnamed] = []
    for one in seen.values():
        key = one.case.key
        key = f"{key} at {one.case.place}" if key in keys else key
        keys.add(key)
        distinct.append(replace(one, case=replace(one.case, key=key)))
    wishes = [
        Wish(one.case.key, one.case.case, one.case.identity, one.is_fixed) for one in distinct
    ]
    names = stable_names(wishes, known)
    return [replace(one.case, case=name) for one, name in zip(distinct, names, strict=True)]


def _stamp(paths: Iterable[Path]) -> tuple[str, int, str]:
    """Identity, size and last touch of the files of a case.

    Raises:
        OSError: a file or folder cannot be looked at.
    """
    states = [state for path in paths for state in state_of(path)]
    stamps = [(name, size, changed) for name, size, changed, _ in states]
    touches = [(name, size, touched) for name, size, _, touched in states]
    return _digest(stamps), sum(size for _, size, _ in stamps), _digest(touches)


def _digest(stamps: Sequence[tuple[str, int, int]]) -> str:
    return hashlib.sha256(repr(sorted(stamps)).encode()).hexdigest()[:32]
