"""One case of a batch, before and after it was segmented: plain values that travel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from medseg.checksums import sha256_of
from medseg.volume import Volume


class State(StrEnum):
    """How a case stands in the ledger."""

    #: Waiting for its turn.
    PENDING = "pending"
    #: Handed to a worker; found in a ledger that nobody holds: its run was killed.
    RUNNING = "running"
    #: Its mask is written, whole.
    DONE = "done"
    #: Not a volume of voxels to segment.
    SKIPPED = "skipped"
    #: Damaged or ambiguous: the reason says what is wrong with it.
    REFUSED = "refused"
    #: A fault that is not the scan's as far as we know; `--retry-failed` tries again.
    FAILED = "failed"


@dataclass(frozen=True)
class Stage:
    """A case entered a stage of its road: read, wait, segment or write."""

    case: str
    stage: str


@dataclass(frozen=True)
class Forecast:
    """The memory that a case is going to take, known before its first window.

    Attributes:
        case: which.
        host_bytes: of all processes on its machine, at their peak.
        text: the same for people, part by part.
    """

    case: str
    host_bytes: int
    text: str


class Readable(Protocol):
    """Where a case's voxels come from; travels to worker processes."""

    def read(self) -> Volume:
        """Read the scan."""


#: Between the paths of a case's channels in its place; a comma may be part of a folder's name.
PLACES = "\n"


@dataclass(frozen=True)
class Task:
    """One scan to segment.

    Attributes:
        case: unique in the batch and safe as a file name.
        source: relative to the argument that named it; goes into tables.
        place: the whole path, kept in the ledger alone; of several channels joined by `PLACES`.
        identity: changes when the input's files change.
        size_bytes: of the input's files; time-outs grow with it.
        scan: reads the voxels.
        warnings: what discovery already noticed.
        key: the same for the same scan in every run; the ledger remembers its case by it.
        touched: when the file system last touched the input's files, which no program sets back.
    """

    case: str
    source: str
    place: str
    identity: str
    size_bytes: int
    scan: Readable
    warnings: tuple[str, ...] = ()
    key: str = ""
    touched: str = ""


@dataclass(frozen=True)
class Unusable:
    """A file or series that was found but is not going to be segmented.

    Attributes:
        case, source, place, identity, key: as of a :class:`Task`.
        state: skipped or refused.
        reason: why, in the user's words.
    """

    case: str
    source: str
    place: str
    identity: str
    state: State
    reason: str
    key: str = ""


@dataclass(frozen=True)
class Flag:
    """One reason to look at a mask before believing it.

    Attributes:
        kind: ``empty``, ``cut``, ``pieces``, ``volume``, ``confidence``, ``spacing``,
            ``intensity`` or ``modality``.
        label: the structure it is about, or empty for the whole scan.
        text: what was found and expected.
    """

    kind: str
    label: str
    text: str


@dataclass(frozen=True)
class Written:
    """A file as it was when it had just been written.

    Attributes:
        name: relative to the output folder.
        size_bytes, modified_ns: as the file system has them.
        sha256: of the content.
    """

    name: str
    size_bytes: int
    modified_ns: int
    sha256: str

    @classmethod
    def of(cls, path: Path, name: str | None = None) -> Written:
        """A file as it is now; `name` is that within its output folder."""
        sha256, status = sha256_of(path), path.stat()
        return cls(name or path.name, status.st_size, status.st_mtime_ns, sha256)


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        case: of the task.
        state: done, skipped, refused or failed; pending where the place for the output was
            lost and the case is not to blame.
        reason: why not done; empty when done.
        warnings: what the user should know about a done case.
        flags: reasons to look at the mask.
        volumes_ml: by label name.
        confidence: by label name, 0-1, where the network gives one.
        facts: what else goes into a table, by column.
        stage_seconds: wall time by stage: read, wait, segment, write.
        segment_seconds: of the stage segment by part: prepare, trial, network, restore, clean.
        written: the mask or volume.
        output_lost: the disk is full, read-only or gone: the batch cannot continue.
    """

    case: str
    state: State
    reason: str = ""
    warnings: tuple[str, ...] = ()
    flags: tuple[Flag, ...] = ()
    volumes_ml: Mapping[str, float] = field(default_factory=dict)
    confidence: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    segment_seconds: Mapping[str, float] = field(default_factory=dict)
    written: Written | None = None
    output_lost: bool = False

    @property
    def seconds(self) -> float:
        """Wall time of the case, waiting for the device left out."""
        return sum(s for stage, s in self.stage_seconds.items() if stage != "wait")
