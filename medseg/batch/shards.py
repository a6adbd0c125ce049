"""One batch divided over the jobs of a job array: each job a shard with a ledger of its own.

A shard is a share of the cases, chosen by a hash of their names: it stays the same whichever other
cases the archive holds, so that an archive may grow between two runs. All shards write their masks
into one folder, and whichever ends brings the tables of the whole up to date.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from medseg.batch import ledger as ledgers
from medseg.batch.entry import Entry
from medseg.batch.task import Task, Unusable
from medseg.errors import BadConfig, BadOutput
from medseg.scans.names import Named

#: Below the output: one folder a shard.
FOLDER = "shards"
_LOCK = "merge.lock"
#: Of a shard's ledger: what every share was, and when.
_SHARES = "shares"


@dataclass(frozen=True)
class Shard:
    """One share of a batch.

    Attributes:
        number: from 1.
        total: how many there are.

    Raises:
        BadConfig: there is no such shard.
    """

    number: int
    total: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.total:
            raise BadConfig(
                "no such shard",
                found=f"{self.number}/{self.total}",
                expected="--shard 1/8 to --shard 8/8, for example",
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """A shard from ``3/8``.

        Raises:
            BadConfig: the text names no shard.

        >>> Shard.parse("3/8")
        Shard(number=3, total=8)
        """
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
        if match is None:
            raise BadConfig("not a shard", found=repr(text), expected="NUMBER/TOTAL, such as 3/8")
        return cls(int(match[1]), int(match[2]))

    @property
    def name(self) -> str:
        """Of its folder, such as ``3-of-8``."""
        return f"{self.number}-of-{self.total}"

    def home(self, output: Path) -> Path:
        """Where its ledger and lock lie."""
        return output / FOLDER / self.name

    def has(self, case: str) -> bool:
        """Whether a case is in this shard; every case is in exactly one.

        >>> [Shard(number, 3).has("liver_007") for number in (1, 2, 3)].count(True)
        1
        """
        return Shard.of(case, self.total) == self

    @classmethod
    def of(cls, case: str, total: int) -> Self:
        """The shard that a case is in."""
        digest = hashlib.sha256(case.encode("utf-8", "backslashreplace")).digest()
        return cls(int.from_bytes(digest[:8], "big") % total + 1, total)

    def share(self, items: Sequence[Task | Unusable]) -> list[Task | Unusable]:
        """The cases that are this shard's."""
        return [item for item in items if self.has(item.case)]


def keep_shares(ledger: ledgers.Ledger, cases: Sequence[str], total: int) -> None:
    """Remember what every shard's share was when this one began, in a few bytes a shard."""
    digests = [hashlib.sha256() for _ in range(total)]
    for case in sorted(cases):
        name = case.encode("utf-8", "backslashreplace")
        digests[Shard.of(case, total).number - 1].update(name + b"\0")
    shares = [digest.hexdigest()[:16] for digest in digests]
    ledger.remember(_SHARES, {"at": time.time(), "shares": shares})


def outdated(output: Path) -> set[Shard]:
    """The shards whose share became another one since they last began.

    What the archive holds is what the shard saw that began last.
    """
    kept = {}
    for shard in shards_in(output):
        with closing(ledgers.look(shard.home(output))) as ledger:
            if known := ledger.recall(_SHARES):
                kept[shard] = known
    if not kept:
        return set()
    newest = max(kept.values(), key=lambda known: float(known["at"]))["shares"]
    return {
        shard
        for shard, known in kept.items()
        if known["shares"][shard.number - 1 :][:1] != newest[shard.number - 1 :][:1]
    }


def shards_in(output: Path) -> list[Shard]:
    """The shards that have begun in a folder, in their order."""
    homes = (output / FOLDER).glob(f"*-of-*/{ledgers.NAME}")
    matches = (re.fullmatch(r"(\d+)-of-(\d+)", path.parent.name) for path in homes)
    shards = [Shard(int(match[1]), int(match[2])) for match in matches if match]
    return sorted(shards, key=lambda shard: (shard.total, shard.number))


def require_one_division(output: Path, shard: Shard | None) -> None:
    """Refuse to divide a folder's cases in two ways, for some would then be done twice.

    Raises:
        BadConfig: the folder was filled without shards, or by another number of them.
    """
    others = {known.total for known in shards_in(output)}
    if shard is None and others:
        raise BadConfig(
            "the folder is filled by shards",
            path=output,
            found=f"{max(others)} shards",
            expected=f"--shard 1/{max(others)} to --shard {max(others)}/{max(others)}",
            remedy="Choose another --output to run without shards.",
        )
    if shard is not None and others - {shard.total}:
        raise BadConfig(
            "the folder is filled by another number of shards",
            path=output,
            found=f"--shard {shard.number}/{shard.total}",
            expected=f"--shard N/{max(others)}",
            remedy="Choose another --output.",
        )
    if shard is not None and (output / ledgers.NAME).exists():
        raise BadConfig(
            "the folder was filled without shards",
            path=output,
            found=f"--shard {shard.number}/{shard.total}",
            remedy="Run without --shard to resume, or choose another --output.",
        )


def remembered(output: Path) -> Named:
    """What a folder and its shards remember of scans; nothing where no run has begun.

    Raises:
        BadOutput: a ledger cannot be read.
    """
    homes = [output, *(shard.home(output) for shard in shards_in(output))]
    known = [ledgers.remembered(home) for home in homes]
    return Named(
        {key: case for one in known for key, case in one.cases.items()},
        {identity: key for one in known for identity, key in one.moved.items()},
    )


def merged_entries(output: Path) -> list[Entry]:
    """Every case of every shard, by name."""
    entries: list[Entry] = []
    for shard in shards_in(output):
        with closing(ledgers.look(shard.home(output))) as ledger:
            entries += ledger.entries()
    return sorted(entries, key=lambda entry: entry.case)


def entries_of(output: Path) -> list[Entry]:
    """Every case of a batch, in one ledger or in those of its shards; empty where none was run."""
    if shards_in(output):
        return merged_entries(output)
    if not (output / ledgers.NAME).is_file():
        return []
    with closing(ledgers.look(output)) as ledger:
        return ledger.entries()


@contextmanager
def merging(output: Path) -> Iterator[None]:
    """Write what is about all shards one shard at a time: the last to end has the last word.

    Raises:
        BadOutput: the folder cannot be written.
    """
    path = output / FOLDER / _LOCK
    try:
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise BadOutput("the file cannot be written", path=path, found=error.strerror) from error
