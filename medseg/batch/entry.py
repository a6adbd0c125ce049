"""What the ledger knows of a case, and of the way in which masks are made."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from medseg.batch.task import Flag, State, Written
from medseg.config import parse_json


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

    @property
    def case_confidence(self) -> float | None:
        """0-1, the mean over the least sure quarter of the labels: the lowest of up to seven.

        The lowest of many says nothing: some label of a hundred is a guess in every scan.
        """
        ordered = sorted(self.confidence.values())
        quarter = ordered[: max(1, len(ordered) // 4)]
        return sum(quarter) / len(quarter) if quarter else None


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

    @classmethod
    def of_text(cls, text: str) -> Recipe:
        """What `to_text` wrote.

        Raises:
            ValueError: it is something else.
        """
        return TypeAdapter(Recipe).validate_python(parse_json(text))


#: Columns that hold JSON.
_JSON = ("warnings", "flags", "volumes_ml", "confidence", "facts")
#: Kinds of values are checked: SQLite keeps whatever it is given.
_ENTRY = TypeAdapter(Entry)


def entry_of(row: sqlite3.Row) -> Entry:
    """A row of the table of cases.

    Raises:
        ValueError: it holds what medseg does not write.
    """
    values = {key: row[key] for key in row.keys()}  # noqa: SIM118 - rows iterate over values
    values |= {key: parse_json(values[key]) for key in _JSON}
    values["flags"] = [
        dict(zip(("kind", "label", "text"), flag, strict=True)) for flag in values["flags"]
    ]
    name = values["output"]
    values["written"] = (
        None
        if name is None
        else {
            "name": name,
            "size_bytes": values["output_bytes"],
            "modified_ns": values["output_modified_ns"],
            "sha256": values["output_sha256"],
        }
    )
    entry = _ENTRY.validate_python(values)
    if Path(entry.case).name != entry.case:
        raise ValueError(f"{entry.case[:60]!r} names another folder")
    place = Path(entry.written.name if entry.written else entry.case)
    if place.is_absolute() or ".." in place.parts or place == Path():
        raise ValueError(f"{str(place)[:60]!r} names another folder")
    return entry


def difference(known: str, wanted: str) -> str:
    """In which words two recipes (see :meth:`Recipe.to_text`) differ."""
    before, now = Recipe.of_text(known), Recipe.of_text(wanted)
    if before.models != now.models:
        return "another model"
    keys = sorted({*before.options, *now.options})
    changed = [key for key in keys if before.options.get(key) != now.options.get(key)]
    return "; ".join(
        f"{key} {before.options.get(key)!r}, now {now.options.get(key)!r}" for key in changed
    )
