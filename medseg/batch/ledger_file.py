"""The SQLite file of a ledger: its tables, how it is opened, and its faults as refusals."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from medseg.database import open_database
from medseg.errors import BadOutput
from medseg.tables import printable

_TABLES = """
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cases (
    "case" TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    source TEXT NOT NULL,
    place TEXT NOT NULL,
    identity TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    warnings TEXT NOT NULL DEFAULT '[]',
    flags TEXT NOT NULL DEFAULT '[]',
    volumes_ml TEXT NOT NULL DEFAULT '{}',
    confidence TEXT NOT NULL DEFAULT '{}',
    facts TEXT NOT NULL DEFAULT '{}',
    seconds REAL NOT NULL DEFAULT 0,
    segment_seconds REAL NOT NULL DEFAULT 0,
    started REAL,
    finished REAL,
    output TEXT,
    output_bytes INTEGER,
    output_modified_ns INTEGER,
    output_sha256 TEXT
);
"""


class LedgerFile:
    """Rows of an open file; whatever SQLite objects to is a `BadOutput`."""

    def __init__(self, database: sqlite3.Connection, path: Path) -> None:
        self._database = database
        self.path = path

    def read(self, statement: str, values: tuple[Any, ...]) -> list[sqlite3.Row]:
        """The rows that a statement gives."""
        with self.refusals():
            return self._database.execute(statement, values).fetchall()

    def write(self, statement: str, values: tuple[Any, ...]) -> None:
        """Change rows."""
        with self.refusals():
            self._database.execute(statement, tuple(map(_storable, values)))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Everything in the block becomes visible at once, with one flush."""
        self.write("BEGIN IMMEDIATE", ())
        try:
            yield
        except BaseException:
            self._database.rollback()
            raise
        self.write("COMMIT", ())

    def refusals(self) -> AbstractContextManager[None]:
        """Around what reads the content of rows: values of another kind are refused, too."""
        return _refusals(self.path)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


def open_file(path: Path) -> LedgerFile:
    """A file to read and write, made where missing.

    Raises:
        BadOutput: it cannot be written, or is no ledger.
    """
    with _refusals(path):
        return LedgerFile(open_database(path, _TABLES), path)


def look_into(path: Path) -> LedgerFile:
    """A file to read; another process may be writing to it.

    Raises:
        BadOutput: it cannot be read, or is no ledger.
    """
    with _refusals(path):
        database = sqlite3.connect(path, timeout=60, isolation_level=None)
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'cases'").fetchone():
            # its tables were about to be made: nothing is in it yet
            database.close()
            database = sqlite3.connect(":memory:", isolation_level=None)
            database.executescript(_TABLES)
        database.row_factory = sqlite3.Row
        database.execute("PRAGMA query_only = ON")
    return LedgerFile(database, path)


def _storable(value: Any) -> Any:
    """Texts as SQLite takes them: names of files may hold bytes that are no text."""
    return printable(str(value)) if isinstance(value, str) else value


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, ValueError, TypeError, LookupError, AttributeError) as error:
        raise BadOutput(
            "the ledger cannot be read or written",
            path=path,
            found=error,
            remedy="Check free space and permissions; then run the same command again to resume.",
        ) from error
