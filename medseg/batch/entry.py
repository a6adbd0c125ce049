"""What does the ledger know of a case, and of the way in which masks are made?"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medseg.batch.task import Flag, State, Written


@dataclass(frozen=True)
class Entry:
    """One case as the ledger has it; see :class:`Task` and :class:`Outcome` for the parts."""

    case: str
    source: str
    place: str
    identity: str
    size_bytes: int
    state: State
    attempts: int
    reason: str
    warnings: tuple[str, ...]
    flags: tuple[Flag, ...]
    volumes_ml: Mapping[str, float]
    confidence: Mapping[str, float]
    facts: Mapping[str, str]
    seconds: float
    segment_seconds: float
    finished: float | None
    written: Written | None


@dataclass(frozen=True)
class Recipe:
    """What decides how masks come out; a folder holds masks of one recipe only.

    Attributes:
        models: checksum of each model folder, in order.
        options: whatever else changes a mask.
    """

    models: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_text(self) -> str:
        """The same text for the same recipe."""
        plain = {"models": list(self.models), "options": dict(self.options)}
        return json.dumps(plain, sort_keys=True)


def entry_of(row: sqlite3.Row) -> Entry:
    """A row of the table of cases."""
    written = None
    if row["output"] is not None:
        written = Written(
            row["output"], row["output_bytes"], row["output_modified_ns"], row["output_sha256"]
        )
    return Entry(
        case=row["case"],
        source=row["source"],
        place=row["place"],
        identity=row["identity"],
        size_bytes=row["size_bytes"],
        state=State(row["state"]),
        attempts=row["attempts"],
        reason=row["reason"],
        warnings=tuple(json.loads(row["warnings"])),
        flags=tuple(Flag(*flag) for flag in json.loads(row["flags"])),
        volumes_ml=json.loads(row["volumes_ml"]),
        confidence=json.loads(row["confidence"]),
        facts=json.loads(row["facts"]),
        seconds=row["seconds"],
        segment_seconds=row["segment_seconds"],
        finished=row["finished"],
        written=written,
    )


def difference(known: str, wanted: str) -> str:
    """In which words two recipes (see :meth:`Recipe.to_text`) differ."""
    before, now = json.loads(known), json.loads(wanted)
    if before["models"] != now["models"]:
        return "another model"
    keys = sorted({*before["options"], *now["options"]})
    changed = [k for k in keys if before["options"].get(k) != now["options"].get(k)]
    return "; ".join(
        f"{key} {before['options'].get(key)!r}, now {now['options'].get(key)!r}" for key in changed
    )
