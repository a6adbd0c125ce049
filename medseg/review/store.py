"""Verdicts and edits, kept in one SQLite file: nothing said or drawn is lost by a crash.

With a rollback journal and full flushing, as the ledger of a batch, so that several raters may
share the file over a network. Verdicts are only ever added: the last one of a rater counts.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from medseg.database import look_into_database, open_database
from medseg.errors import BadOutput
from medseg.review.edits import Change

NAME = "review.sqlite"

_TABLES = """
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS verdicts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    "case" TEXT NOT NULL, rater TEXT NOT NULL, verdict TEXT NOT NULL, note TEXT NOT NULL,
    mask_sha256 TEXT NOT NULL, time TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS edits (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    "case" TEXT NOT NULL, rater TEXT NOT NULL, tool TEXT NOT NULL, voxels INTEGER NOT NULL,
    mask_sha256 TEXT NOT NULL, change BLOB NOT NULL, time TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS edits_of ON edits ("case", rater);
CREATE TABLE IF NOT EXISTS corrected (
    "case" TEXT NOT NULL, rater TEXT NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL,
    mask_sha256 TEXT NOT NULL, last_edit INTEGER NOT NULL, voxels_changed INTEGER NOT NULL,
    time TEXT NOT NULL, PRIMARY KEY ("case", rater)
);
"""
#: Changes with the tables above.
_VERSION = "1"


class Verdict(StrEnum):
    """What a rater says of a mask."""

    ACCEPT = "accept"
    #: To be mended, or mended.
    EDIT = "edit"
    #: To be made again.
    REJECT = "reject"
    #: Taken back; the note stays.
    NONE = ""


@dataclass(frozen=True)
class Judgement:
    """The last verdict of one rater on one case.

    Attributes:
        case, rater: of whom, by whom.
        verdict: what was said.
        note: free text.
        mask_sha256: of the file that was looked at.
        time: UTC, ISO 8601.
    """

    case: str
    rater: str
    verdict: Verdict
    note: str
    mask_sha256: str
    time: str


@dataclass(frozen=True)
class Edit:
    """One change that was drawn.

    Attributes:
        number: ascending in time.
        tool: which made it.
        mask_sha256: of the prediction that it was drawn on.
        change: of the voxels.
    """

    number: int
    tool: str
    mask_sha256: str
    change: Change


@dataclass(frozen=True)
class Corrected:
    """A corrected mask that was saved.

    Attributes:
        case, rater: of whom, by whom.
        name: of the file, relative to the folder.
        sha256: of the file.
        mask_sha256: of the prediction it corrects.
        last_edit: number of the last edit in it.
        voxels_changed: against the prediction.
        time: UTC, ISO 8601.
    """

    case: str
    rater: str
    name: str
    sha256: str
    mask_sha256: str
    last_edit: int
    voxels_changed: int
    time: str


class Store:
    """The verdicts and edits of one folder; open it with :func:`open_store`."""

    def __init__(self, database: sqlite3.Connection, path: Path) -> None:
        self._database, self._path = database, path
        self._lock = threading.RLock()

    def judge(
        self, case: str, rater: str, verdict: Verdict, note: str, mask_sha256: str
    ) -> Judgement:
        """Keep a verdict; it is on disk when this returns."""
        judgement = Judgement(case, rater, verdict, note, mask_sha256, now())
        self._write(
            'INSERT INTO verdicts ("case", rater, verdict, note, mask_sha256, time)'
            " VALUES (?, ?, ?, ?, ?, ?)",
            (case, rater, verdict.value, note, mask_sha256, judgement.time),
        )
        return judgement

    def judgements(self) -> list[Judgement]:
        """The last verdict of every rater on every case, in the order they were given."""
        rows = self._read(
            "SELECT * FROM verdicts WHERE id IN"
            ' (SELECT MAX(id) FROM verdicts GROUP BY "case", rater) ORDER BY id'
        )
        return [
            Judgement(
                row["case"],
                row["rater"],
                Verdict(row["verdict"]),
                row["note"],
                row["mask_sha256"],
                row["time"],
            )
            for row in rows
        ]

    def add_edit(self, case: str, rater: str, tool: str, mask_sha256: str, change: Change) -> int:
        """Keep a change; it is on disk when this returns.

        Returns:
            Its number.
        """
        return self._write(
            'INSERT INTO edits ("case", rater, tool, voxels, mask_sha256, change, time)'
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (case, rater, tool, change.voxels.size, mask_sha256, change.to_bytes(), now()),
        )

    def drop_edit(self, number: int) -> None:
        """Forget a change that was undone."""
        self._write("DELETE FROM edits WHERE id = ?", (number,))

    def edits(self, case: str, rater: str) -> list[Edit]:
        """The changes of one rater to one case, in their order."""
        rows = self._read(
            'SELECT * FROM edits WHERE "case" = ? AND rater = ? ORDER BY id', (case, rater)
        )
        return [
            Edit(r["id"], r["tool"], r["mask_sha256"], Change.from_bytes(r["change"])) for r in rows
        ]

    def last_edits(self) -> dict[tuple[str, str, str], int]:
        """(case, rater, SHA-256 of the mask) -> number of the last change."""
        rows = self._read(
            'SELECT "case", rater, mask_sha256, MAX(id) AS last FROM edits'
            ' GROUP BY "case", rater, mask_sha256'
        )
        return {(row["case"], row["rater"], row["mask_sha256"]): row["last"] for row in rows}

    def keep_corrected(self, saved: Corrected) -> None:
        """Remember a corrected mask that is in place."""
        self._write(
            "INSERT OR REPLACE INTO corrected VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                saved.case,
                saved.rater,
                saved.name,
                saved.sha256,
                saved.mask_sha256,
                saved.last_edit,
                saved.voxels_changed,
                saved.time,
            ),
        )

    def corrected(self) -> dict[tuple[str, str], Corrected]:
        """(case, rater) -> the mask that was saved last."""
        rows = self._read("SELECT * FROM corrected")
        return {(row["case"], row["rater"]): Corrected(**dict(row)) for row in rows}

    def claim(self, name: str, rater: str) -> bool:
        """Whether a file's name is this rater's: whoever asks first has it, in any process."""
        key = f"name {name}"
        self._write("INSERT OR IGNORE INTO facts VALUES (?, ?)", (key, rater))
        return self.recall(key) == rater

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else writes meanwhile, in any process."""
        with self._lock, _refusals(self._path):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                self._database.execute("ROLLBACK")

    def remember(self, key: str, value: str) -> None:
        """Keep a fact."""
        self._write("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, value))

    def recall(self, key: str) -> str | None:
        """A fact kept before, or ``None``."""
        rows = self._read("SELECT value FROM facts WHERE key = ?", (key,))
        return str(rows[0]["value"]) if rows else None

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._database.close()

    def _read(self, statement: str, values: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        with self._lock, _refusals(self._path):
            return self._database.execute(statement, values).fetchall()

    def _write(self, statement: str, values: tuple[Any, ...]) -> int:
        with self._lock, _refusals(self._path):
            return self._database.execute(statement, values).lastrowid or 0


def open_store(folder: Path) -> Store:
    """The store of a folder, made where missing.

    Raises:
        BadOutput: it cannot be written, or is of another version of medseg.
    """
    path = folder / NAME
    with _refusals(path):
        store = Store(open_database(path, _TABLES, threads=True), path)
    if not _is_versioned(store, path):
        store.remember("version", _VERSION)
    return store


def look_store(folder: Path) -> Store:
    """The store of a folder that was reviewed, to read; the folder may be read-only.

    Raises:
        BadOutput: the folder was not reviewed, or the store cannot be read.
    """
    path = folder / NAME
    if not path.is_file():
        raise BadOutput(
            "no review here",
            path=folder,
            found=f"no {NAME}",
            expected="a folder that medseg review was run on",
        )
    with _refusals(path):
        store = Store(look_into_database(path), path)
    _is_versioned(store, path)
    return store


def _is_versioned(store: Store, path: Path) -> bool:
    """Whether a store says whose it is.

    Raises:
        BadOutput: it is of another version of medseg.
    """
    version = store.recall("version")
    if version not in (None, _VERSION):
        raise BadOutput(
            "the review is of another version of medseg",
            path=path,
            found=version,
            expected=_VERSION,
        )
    return version is not None


def now() -> str:
    """UTC in ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise BadOutput(
            "the review cannot be read or written",
            path=path,
            found=error,
            remedy="Check free space and permissions.",
        ) from error
