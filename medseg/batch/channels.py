"""Which scans are the channels of one case?  By number, by the user's patterns, or by a table."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from medseg.batch.task import State, Task, Unusable
from medseg.errors import BadConfig, MedsegError
from medseg.readers import FoundScan, Frames, formats, stack
from medseg.readers.dicom_identity import words_of
from medseg.volume import Volume

Found: TypeAlias = Task | Unusable
#: A scan, what stands for it in a batch by itself, and the argument it was found under.
Listed: TypeAlias = tuple[FoundScan, Found, Path]
#: Of one case: the scans of each channel.
Members: TypeAlias = dict[str, list[Listed]]

_NUMBERED = re.compile(r"(?P<case>.+)_(?P<number>\d{4})")
#: Scans named in one message.
_MOST_NAMED = 4


@dataclass(frozen=True)
class Channels:
    """What a model sees of one case, and how its scans are told.

    Attributes:
        names: the model's channels, in order.
        patterns: for each of them what a scan's description may look like; empty: told by number.
        frames: whether headers must say that a case's scans share a space.
    """

    names: tuple[str, ...]
    patterns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    frames: Frames = Frames.CHECK

    def named(self, text: str) -> str | None:
        """The channel of that name, case ignored."""
        return {name.casefold(): name for name in self.names}.get(text.strip().casefold())

    def told(self) -> str:
        """The names, for messages."""
        return ", ".join(self.names)


@dataclass(frozen=True)
class ChannelScan:
    """Several scans that are one case, to be read by a worker.

    Attributes:
        scans: one a channel, in the model's order; the mask lies on the grid of the first.
        names: of the channels.
        frames: whether headers must say that they share a space.
    """

    scans: tuple[FoundScan, ...]
    names: tuple[str, ...]
    frames: Frames

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Voxels of the grid, where known."""
        return self.scans[0].shape

    def read(self) -> Volume:
        """The channels on the grid of the first."""
        from medseg.transforms.channels import onto_grid

        volumes = [_read(scan, name) for scan, name in zip(self.scans, self.names, strict=True)]
        return stack(volumes, self.names, align=onto_grid, frames=self.frames)


def _read(scan: FoundScan, name: str) -> Volume:
    try:
        volume = scan.read()
    except MedsegError as error:
        raise error.about(scan.source, part=f"channel {name!r}") from None
    return replace(volume, origin=replace(volume.origin, path=scan.source))


def parse_patterns(texts: Sequence[str], names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Patterns by channel from ``NAME=PATTERN``; those of one channel are alternatives.

    Raises:
        BadConfig: no such channel, no pattern, or a channel without one.
    """
    channels = Channels(tuple(names))
    patterns: dict[str, tuple[str, ...]] = dict.fromkeys(names, ())
    for text in texts:
        name, _, pattern = text.partition("=")
        channel = channels.named(name)
        if channel is None or not pattern:
            raise BadConfig(
                "--channel names no channel of the model",
                found=repr(text),
                expected=f"NAME=PATTERN with a name of {channels.told()}",
            )
        patterns[channel] += (pattern,)
    missing = [name for name, chosen in patterns.items() if not chosen]
    if texts and missing:
        raise BadConfig(
            f"--channel says nothing of {', '.join(missing)}",
            expected=" ".join(f"--channel {name}=PATTERN" for name in names),
        )
    return patterns if texts else {}


def into_cases(listed: Sequence[Listed], channels: Channels | None) -> list[tuple[Path, Found]]:
    """One entry a case, and one for every scan that belongs to none.

    A table's column ``channel`` says most, then patterns, then numbers as nnU-Net writes them
    behind a file's name. A model of one channel takes every scan where neither of the first two
    is given.

    Returns:
        Each with the argument it was found under.
    """
    if channels is None:
        return [(argument, found) for _, found, argument in listed]
    if any(scan.channel for scan, _, _ in listed):
        return _grouped(listed, channels, _by_table)
    if channels.patterns:
        return _grouped(listed, channels, _by_pattern)
    if len(channels.names) == 1:
        return [(argument, found) for _, found, argument in listed]
    return _grouped(listed, channels, _by_number)


#: What a rule makes of a scan: the key of its case and its channel (or a number that is none), or
#: what it is instead.
_Place: TypeAlias = tuple[tuple[str, ...], str] | Found
_Rule: TypeAlias = Callable[[Listed, Channels], _Place]


def _grouped(listed: Sequence[Listed], channels: Channels, rule: _Rule) -> list[tuple[Path, Found]]:
    cases: dict[tuple[str, ...], Members] = {}
    single: list[tuple[Path, Found]] = []
    for one in listed:
        place = rule(one, channels)
        if isinstance(place, tuple):
            key, channel = place
            cases.setdefault(key, {}).setdefault(channel, []).append(one)
        else:
            single.append((one[2], place))
    joined = [(_first(members)[2], _case(members, channels, rule)) for members in cases.values()]
    return [*joined, *single]


def _first(members: Members) -> Listed:
    return next(iter(members.values()))[0]


def _by_table(one: Listed, channels: Channels) -> _Place:
    scan, found, _ = one
    if isinstance(found, Unusable) and (not scan.channel or scan.status == "skipped"):
        return found
    if not scan.channel:
        return _left_out(found, "the table names no channel for it")
    channel = channels.named(scan.channel)
    if channel is None:
        return _left_out(
            found, f"the model has no channel {scan.channel[:40]!r} ({channels.told()})"
        )
    return _study(one), channel


def _by_pattern(one: Listed, channels: Channels) -> _Place:
    scan, found, _ = one
    if scan.status == "skipped" or not scan.case:
        return found
    fits = [name for name in channels.names if _fits(scan, channels.patterns[name])]
    if not fits:
        return found if isinstance(found, Unusable) else _left_out(found, "no --channel fits it")
    return _study(one), " and ".join(fits)


def _by_number(one: Listed, channels: Channels) -> _Place:
    scan, found, _ = one
    if scan.finding is not None:
        return found if scan.status != "usable" else (_study(one), "")
    numbered = _NUMBERED.fullmatch(formats.stem(scan.source))
    if not scan.case or scan.status == "skipped":
        return found
    if numbered is None:
        return found if isinstance(found, Unusable) else _refused(found, _how_to_number(channels))
    number = int(numbered["number"])
    known = number < len(channels.names)
    return (
        (*_folder(one), numbered["case"]),
        channels.names[number] if known else numbered["number"],
    )


def _fits(scan: FoundScan, patterns: Sequence[str]) -> bool:
    words = [formats.stem(scan.source)] if scan.finding is None else words_of(scan.finding.files[0])
    return any(
        fnmatch.fnmatchcase(word.casefold(), pattern.casefold())
        for word in words
        for pattern in patterns
    )


def _study(one: Listed) -> tuple[str, ...]:
    """What the scans of one examination share: the table's or the study's group, or a folder."""
    return ("group", one[0].group) if one[0].group else _folder(one)


def _folder(one: Listed) -> tuple[str, ...]:
    scan, found, _ = one
    base = found.place if scan.member is not None else str(Path(found.place).parent)
    return base, scan.source.rpartition("/")[0]


def _case(members: Members, channels: Channels, rule: _Rule) -> Found:
    """A task where each channel has exactly one usable scan; else why not."""
    everything = [one for scans in members.values() for one in scans]
    chosen = [members[name][0] for name in channels.names if name in members]
    first, *_ = chosen or everything
    name = _name(first, rule)
    problem = _problem(members, channels, rule)
    parts = [found for _, found, _ in (everything if problem else chosen)]
    sources, places, identity = (
        ", ".join(getattr(part, what) for part in parts) for what in ("source", "place", "identity")
    )
    if problem:
        if len(parts) > _MOST_NAMED:
            shown = ", ".join(part.source for part in parts[:_MOST_NAMED])
            sources = f"{shown} and {len(parts) - _MOST_NAMED} more"
        return Unusable(name, sources, places, identity, State.REFUSED, problem)
    scan = ChannelScan(tuple(scan for scan, _, _ in chosen), channels.names, channels.frames)
    size = sum(part.size_bytes for part in parts if isinstance(part, Task))
    identity = f"{identity} as {channels.told()}, frames {channels.frames}"
    return Task(name, sources, places, identity, size, scan)


def _name(one: Listed, rule: _Rule) -> str:
    """The first channel's, without its number where that tells the channel."""
    numbered = _NUMBERED.fullmatch(one[1].case) if rule is _by_number else None
    return numbered["case"] if numbered and one[0].finding is None else one[1].case


def _problem(members: Members, channels: Channels, rule: _Rule) -> str:
    """Why these scans are no case, or empty."""
    if "" in members:
        return _nothing_says(len(members[""]), channels)
    remedies: dict[_Rule, str] = {_by_number: _how_to_number(channels), _by_table: _IN_TABLE}
    remedy = remedies.get(rule, _BY_PATTERN)
    strange = [name for name in members if name not in channels.names]
    if strange:
        what = "numbers" if rule is _by_number else "scans that fit several channels:"
        return (
            f"{what} {', '.join(sorted(strange)[:_MOST_NAMED])} beside the model's channels "
            f"({channels.told()}). {remedy}"
        )
    missing = [name for name in channels.names if name not in members]
    if missing:
        there = ", ".join(members)
        return f"no scan for channel {', '.join(missing)}; found {there} alone. {remedy}"
    for name in channels.names:
        scans = members[name]
        if len(scans) > 1:
            told = "; ".join(f"{s.source} ({s.describe()})" for s, _, _ in scans[:_MOST_NAMED])
            return f"{len(scans)} scans for channel {name}: {told}. {remedy}"
        if isinstance(scans[0][1], Unusable):
            return f"channel {name} ({scans[0][1].source}): {scans[0][1].reason}"
    return ""


_IN_TABLE = "Give each group one row a channel in the table's columns `group` and `channel`."
_BY_PATTERN = (
    "Narrow the patterns of --channel, or write the channels into the column `channel` of the "
    "table that medseg convert --dry-run leaves, and pass that."
)


def _nothing_says(count: int, channels: Channels) -> str:
    options = " ".join(f"--channel '{name}=PATTERN'" for name in channels.names)
    return (
        f"a study of {count} series, and nothing says which is {' and which '.join(channels.names)}"
        f". Say {options}, or write the channels into the column `channel` of the table that "
        "medseg convert --dry-run leaves, and pass that."
    )


def _how_to_number(channels: Channels) -> str:
    files = ", ".join(f"CASE_{number:04d} ({name})" for number, name in enumerate(channels.names))
    return (
        f"The model wants {len(channels.names)} channels, one a file: name them {files}, or say "
        "which is which with --channel or a table's column `channel`."
    )


def _left_out(found: Found, why: str) -> Unusable:
    return replace(_refused(found, f"not selected: {why}"), state=State.SKIPPED)


def _refused(found: Found, reason: str) -> Unusable:
    return Unusable(found.case, found.source, found.place, found.identity, State.REFUSED, reason)
