"""SQLite files that survive a kill, on a network share too: one way to open them."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def open_database(path: Path, tables: str, *, threads: bool = False) -> sqlite3.Connection:
    """A file with its tables, made where missing; every statement is a transaction of its own.

    A rollback journal, for shares have no memory in common; each commit is on the disk.

    Args:
        path: of the file.
        tables: statements that make what is missing.
        threads: whether several threads use it, one at a time.

    Raises:
        sqlite3.Error: it cannot be read or written.
    """
    database = _connected(path, threads=threads)
    database.execute("PRAGMA journal_mode = DELETE")
    database.execute("PRAGMA synchronous = FULL")
    database.executescript(f"BEGIN IMMEDIATE; {tables}; COMMIT;")  # all of them or none
    return database


def look_into_database(path: Path) -> sqlite3.Connection:
    """A file to read, also where nothing can be written; others may be writing to it.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    database = _connected(path, threads=False)
    database.execute("PRAGMA query_only = ON")
    return database


def _connected(path: Path, *, threads: bool) -> sqlite3.Connection:
    database = sqlite3.connect(
        path, timeout=60, isolation_level=None, check_same_thread=not threads
    )
    database.row_factory = sqlite3.Row
    return database
