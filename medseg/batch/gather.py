"""Which cases do the arguments of a batch name?  Files, folders, archives, cards and tables."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.batch.channels import Channels, Found, Listed, into_cases
from medseg.batch.task import State, Task, Unusable
from medseg.errors import MedsegError
from medseg.manifests import Case, Cohort, load_cohort, read_case
from medseg.manifests.reading import file_of
from medseg.readers import FoundScan, Frames, discover
from medseg.readers.case_names import safe, unique_cases
from medseg.readers.scan_table import is_table, scans_of_table
from medseg.volume import Volume

CARDS = (".yaml", ".yml")

Progress = Callable[..., None]


@dataclass(frozen=True)
class CohortScan:
    """One case of a cohort, to be read by a worker.

    Attributes:
        cohort: with this case alone, so that it travels light.
        channels: which of the cohort's, in the model's order; all when empty.
        frames: whether headers must say that the channels share a space.
    """

    cohort: Cohort
    channels: tuple[str, ...] = ()
    frames: Frames = Frames.CHECK

    def read(self) -> Volume:
        """The case's channels on the first one's grid, with the modality that the card names."""
        from medseg.transforms.channels import onto_grid

        case = self.cohort.cases[0]
        try:
            volume = read_case(
                self.cohort, case, align=onto_grid, channels=self.channels, frames=self.frames
            )
        except MedsegError as error:
            path = error.path and _relative(Path(error.path), self.cohort.root)
            raise error.about(path) from None
        modality = volume.origin.modality or self.cohort.modality
        return replace(volume, origin=replace(volume.origin, modality=modality))


def gather(
    arguments: Sequence[Path],
    *,
    split: str | None = None,
    root: Path | None = None,
    channels: Channels | None = None,
    progress: Progress = lambda done, total=None, **facts: None,
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
    listed: list[Listed] = []
    for argument in arguments:
        if argument.suffix.lower() in CARDS:
            cohort = load_cohort(argument, root=root)
            cases = of_cohort(cohort, split=split, channels=channels)
            found += [(argument, case) for case in cases]
        else:
            listed += _listed(argument, root, progress)
    return _with_unique_names([*found, *into_cases(listed, channels)])


def _listed(argument: Path, root: Path | None, progress: Progress) -> list[Listed]:
    """Every scan under an argument that is no card."""
    if is_table(argument):
        places = scans_of_table(argument, root=root, progress=progress)
    else:
        places = [(scan, str(argument)) for scan in discover(argument, progress=progress)]
    return [(scan, _of_scan(scan, Path(place)), argument) for scan, place in places]


def of_cohort(
    cohort: Cohort, *, split: str | None = None, channels: Channels | None = None
) -> list[Found]:
    """The cases of a cohort; one whose files are missing is refused, not the cohort.

    The model's channels are taken by name where the card has them all; else in the card's order,
    with a warning, where as many are there.
    """
    chosen = cohort.select(split=split) if split else cohort
    names, warnings = _chosen_channels(chosen, channels)
    frames = channels.frames if channels else Frames.CHECK
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
    return cohort.channels, (f"the card's channels {told} ({channels.told()})",)


def _unfit(found: Found, cohort: Cohort, channels: Channels) -> Unusable:
    reason = (
        f"the card has {len(cohort.channels)} channels ({', '.join(cohort.channels)}), the model "
        f"wants {len(channels.names)} ({channels.told()})"
    )
    return Unusable(found.case, found.source, found.place, found.identity, State.REFUSED, reason)


def _of_case(cohort: Cohort, case: Case, scan: CohortScan, warnings: tuple[str, ...]) -> Found:
    files = [file_of(path) for path in case.sources]
    sources = ", ".join(_relative(path, cohort.root) for path in case.sources)
    place = ", ".join(str(path.absolute()) for path in case.sources)
    identity, size = _stamp(files)
    if scan.channels not in ((), cohort.channels) or scan.frames is not Frames.CHECK:
        identity = f"{identity} as {', '.join(scan.channels)}, frames {scan.frames}"
    missing = [path for path in files if not path.exists()]
    if missing:
        reason = (
            f"no such file: {_relative(missing[0], cohort.root)}. "
            "Check the table, or say with --root where its paths start."
        )
        return Unusable(case.case, sources, place, identity, State.REFUSED, reason)
    return Task(case.case, sources, place, identity, size, scan, warnings)


def _of_scan(scan: FoundScan, argument: Path) -> Found:
    base = (argument if scan.path == Path() else scan.path).absolute()
    place = str(base / scan.source) if base.is_dir() else str(base)
    if scan.finding is not None:
        stamps = [(f.source.name, f.source.size, f.source.changed_ns) for f in scan.finding.files]
        identity, size = _digest(stamps), sum(stamp[1] for stamp in stamps)
    elif scan.member is not None:
        size = scan.member.size
        identity = _digest([(scan.member.name, size, scan.member.changed_ns)])
    else:
        identity, size = _stamp([scan.path] if scan.path.is_file() else [])
    if scan.volume is not None:
        identity = f"{identity} volume {scan.volume}"
    name = scan.case or safe(scan.source.replace("/", "_")) or "unnamed"
    if scan.status != "usable":
        return Unusable(name, scan.source, place, identity, State(scan.status), scan.reason)
    return Task(name, scan.source, place, identity, size, scan, scan.warnings)


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
            else safe("_".join([*_folders(argument)[-depth:], case.case]))
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


def _relative(path: Path, root: Path) -> str:
    try:
        return path.absolute().relative_to(root.absolute()).as_posix()
    except ValueError:
        return path.name
