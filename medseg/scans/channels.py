"""The scans that are the channels of one case: by number, by the user's patterns, or by a table."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from medseg.errors import BadConfig
from medseg.readers import stem
from medseg.readers.entry import Status
from medseg.scans.arguments import ListedScan
from medseg.scans.found import FoundScan
from medseg.scans.stack import Frames

#: Of one case: the scans of each channel.
Members: TypeAlias = dict[str, list[ListedScan]]

_NUMBERED = re.compile(r"(?P<case>.+)_(?P<number>\d{4})")
#: Scans named in one message.
_MOST_NAMED = 4


@dataclass(frozen=True)
class Channels:
    """What a model sees of one case, and how its scans are recognised.

    Attributes:
        names: the model's channels, in order.
        patterns: for each of them what a scan's description may look like; empty: by number.
        frames: what brings a case's scans into one space; as its card says when not given.
    """

    names: tuple[str, ...]
    patterns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    frames: Frames | None = None

    def named(self, text: str) -> str | None:
        """The channel of that name, case ignored."""
        return {name.casefold(): name for name in self.names}.get(text.strip().casefold())

    def listed(self) -> str:
        """The names, for messages."""
        return ", ".join(self.names)


@dataclass(frozen=True, eq=False)
class ScanCase:
    """One case: a scan, or several that are its channels; or scans that make none.

    Attributes:
        name: of the case, not yet unique.
        scans: one a channel, in the model's order; where they make no case, all of them.
        status: whether it can be segmented.
        reason: why not, or empty.
        channels: names of the channels; empty where the scan stands for itself.
    """

    name: str
    scans: tuple[ListedScan, ...]
    status: Status
    reason: str = ""
    channels: tuple[str, ...] = ()

    @classmethod
    def of(cls, one: ListedScan) -> ScanCase:
        """A scan that is a case by itself, usable or not."""
        return cls(one.scan.case, (one,), one.scan.status, one.scan.reason)

    @classmethod
    def without(cls, one: ListedScan, status: Status, reason: str) -> ScanCase:
        """A scan that is no case although it may be usable."""
        return cls(one.scan.case, (one,), status, reason)


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
                expected=f"NAME=PATTERN with a name of {channels.listed()}",
            )
        patterns[channel] += (pattern,)
    missing = [name for name, chosen in patterns.items() if not chosen]
    if texts and missing:
        raise BadConfig(
            f"--channel leaves out {', '.join(missing)}",
            expected=" ".join(f"--channel {name}=PATTERN" for name in names),
        )
    return patterns if texts else {}


def into_cases(listed: Sequence[ListedScan], channels: Channels | None) -> list[ScanCase]:
    """One entry a case, and one for every scan that belongs to none.

    A table's column ``channel`` says most, then patterns, then numbers as nnU-Net writes them
    behind a file's name. A model of one channel takes every scan where neither of the first two
    is given.
    """
    if channels is None:
        return [ScanCase.of(one) for one in listed]
    if any(one.scan.channel for one in listed):
        return _grouped(listed, channels, _by_table)
    if channels.patterns:
        return _grouped(listed, channels, _by_pattern)
    if len(channels.names) == 1:
        return [ScanCase.of(one) for one in listed]
    return _grouped(listed, channels, _by_number)


#: What a rule makes of a scan: the key of its case and its channel (or a number that is none), or
#: what it is instead.
_Place: TypeAlias = tuple[tuple[str, ...], str] | ScanCase
_Rule: TypeAlias = Callable[[ListedScan, Channels], _Place]


def _grouped(listed: Sequence[ListedScan], channels: Channels, rule: _Rule) -> list[ScanCase]:
    cases: dict[tuple[str, ...], Members] = {}
    single: list[ScanCase] = []
    for one in listed:
        place = rule(one, channels)
        if isinstance(place, ScanCase):
            single.append(place)
        else:
            key, channel = place
            cases.setdefault(key, {}).setdefault(channel, []).append(one)
    return [*(_case(members, channels, rule) for members in cases.values()), *single]


def _by_table(one: ListedScan, channels: Channels) -> _Place:
    scan = one.scan
    if scan.status != Status.USABLE and (not scan.channel or scan.status == Status.SKIPPED):
        return ScanCase.of(one)
    if not scan.channel:
        return _left_out(one, "the table names no channel for it")
    channel = channels.named(scan.channel)
    if channel is None:
        return _left_out(
            one, f"the model has no channel {scan.channel[:40]!r} ({channels.listed()})"
        )
    return _study(one), channel


def _by_pattern(one: ListedScan, channels: Channels) -> _Place:
    if one.scan.status == Status.SKIPPED or not one.scan.case:
        return ScanCase.of(one)
    fits = [name for name in channels.names if _fits(one.scan, channels.patterns[name])]
    if fits:
        return _study(one), " and ".join(fits)
    usable = one.scan.status == Status.USABLE
    return _left_out(one, "no --channel fits it") if usable else ScanCase.of(one)


def _by_number(one: ListedScan, channels: Channels) -> _Place:
    scan = one.scan
    if scan.content.described:
        return (_study(one), "") if scan.status == Status.USABLE else ScanCase.of(one)
    numbered = _NUMBERED.fullmatch(stem(scan.source))
    if not scan.case or scan.status == Status.SKIPPED:
        return ScanCase.of(one)
    if numbered is None and scan.status == Status.USABLE:
        return ScanCase.without(one, Status.REFUSED, _how_to_number(channels))
    if numbered is None:
        return ScanCase.of(one)
    number = int(numbered["number"])
    known = number < len(channels.names)
    return (
        (*_folder(one), numbered["case"]),
        channels.names[number] if known else numbered["number"],
    )


def _fits(scan: FoundScan, patterns: Sequence[str]) -> bool:
    return any(
        fnmatch.fnmatchcase(word.casefold(), pattern.casefold())
        for word in scan.content.words(scan.source)
        for pattern in patterns
    )


def _study(one: ListedScan) -> tuple[str, ...]:
    """What the scans of one examination share: the table's or the study's group, or a folder."""
    return ("group", one.scan.group) if one.scan.group else _folder(one)


def _folder(one: ListedScan) -> tuple[str, ...]:
    location = one.location
    inside = any(source.member for source in one.scan.content.sources)
    base = str(location if inside else location.parent)
    return base, one.scan.source.rpartition("/")[0]


def _case(members: Members, channels: Channels, rule: _Rule) -> ScanCase:
    """A case where each channel has exactly one usable scan; else why not."""
    everything = tuple(one for scans in members.values() for one in scans)
    chosen = tuple(members[name][0] for name in channels.names if name in members)
    name = _name((chosen or everything)[0], rule)
    problem = _problem(members, channels, rule)
    if problem:
        return ScanCase(name, everything, Status.REFUSED, problem, channels.names)
    return ScanCase(name, chosen, Status.USABLE, "", channels.names)


def _name(one: ListedScan, rule: _Rule) -> str:
    """The first channel's, without its number where that names the channel."""
    numbered = _NUMBERED.fullmatch(one.scan.case) if rule is _by_number else None
    return numbered["case"] if numbered and not one.scan.content.described else one.scan.case


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
            f"({channels.listed()}). {remedy}"
        )
    missing = [name for name in channels.names if name not in members]
    if missing:
        there = ", ".join(members)
        return f"no scan for channel {', '.join(missing)}; found {there} alone. {remedy}"
    for name in channels.names:
        scans = [one.scan for one in members[name]]
        if len(scans) > 1:
            several = "; ".join(f"{s.source} ({s.describe()})" for s in scans[:_MOST_NAMED])
            return f"{len(scans)} scans for channel {name}: {several}. {remedy}"
        if scans[0].status != Status.USABLE:
            return f"channel {name} ({scans[0].source}): {scans[0].reason}"
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


def _left_out(one: ListedScan, why: str) -> ScanCase:
    return ScanCase.without(one, Status.SKIPPED, f"not selected: {why}")
