"""How every case of a batch stands: a SQLite file in the output folder, with one writer.

With a rollback journal and full flushing, so that it is right after a crash, on a network share
too. It alone holds whole paths; tables and pages show sources relative to what the user passed.
"""

from __future__ import annotations

import json
import time
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

from medseg.batch.entry import Entry, Recipe, difference, entry_of
from medseg.batch.ledger_file import LedgerFile, look_into, open_file
from medseg.batch.task import Outcome, State, Task, Unusable
from medseg.config import parse_json
from medseg.errors import BadConfig, BadOutput
from medseg.scans.names import Named

NAME = "ledger.sqlite"
#: Changes with the tables of :mod:`medseg.batch.ledger_file`.
_VERSION = 2


class Ledger:
    """The cases of one output folder; open it with :func:`open_ledger` or :func:`look`."""

    def __init__(self, file: LedgerFile) -> None:
        self._file = file

    def adopt(self, recipe: Recipe) -> None:
        """Bind the folder to a recipe, or check that it is the one it was bound to.

        Raises:
            BadConfig: the folder holds masks made another way.
        """
        known = self._known_recipe(recipe)
        if known is None or (known != recipe.to_text() and not self.count()[State.DONE]):
            self._remember("recipe", recipe.to_text())
        elif known != recipe.to_text():
            raise BadConfig(
                "the folder holds masks made with another model or other options",
                path=self._file.path.parent,
                found=difference(known, recipe.to_text()),
                expected="one model and one set of options per folder",
                remedy="Choose another --output, or give --redo to make every mask again.",
            )

    def rebind(self, recipe: Recipe) -> None:
        """Bind the folder to a recipe; cases done with another one are pending again.

        Raises:
            BadConfig: the folder holds the results of another command.
        """
        if self._known_recipe(recipe) not in (None, recipe.to_text()):
            self._file.write(
                "UPDATE cases SET state = ?, reason = '' WHERE state = ?",
                (State.PENDING, State.DONE),
            )
        self._remember("recipe", recipe.to_text())

    def add(self, task: Task | Unusable) -> None:
        """Enter a case, or enter it again after its input changed: pending.

        Of an earlier output only the file is still known, by its checksum.
        """
        state = task.state if isinstance(task, Unusable) else State.PENDING
        reason = task.reason if isinstance(task, Unusable) else ""
        size = 0 if isinstance(task, Unusable) else task.size_bytes
        self._file.write(
            'INSERT INTO cases ("case", position, source, place, identity, size_bytes,'
            " state, reason) VALUES (?,"
            " (SELECT COALESCE(MAX(position), 0) + 1 FROM cases), ?, ?, ?, ?, ?, ?)"
            ' ON CONFLICT ("case") DO UPDATE SET source = excluded.source,'
            " place = excluded.place, identity = excluded.identity,"
            " size_bytes = excluded.size_bytes, state = excluded.state, reason = excluded.reason,"
            " attempts = 0, warnings = '[]', flags = '[]', volumes_ml = '{}', confidence = '{}',"
            " facts = '{}', seconds = 0, segment_seconds = 0, started = NULL, finished = NULL",
            (task.case, task.source, task.place, task.identity, size, state, reason),
        )
        if isinstance(task, Task):
            self._remember(f"touched {task.case}", task.touched)

    def moved(self, task: Task | Unusable) -> None:
        """The same input lies at another place, or is named from another one."""
        self._file.write(
            'UPDATE cases SET place = ?, source = ? WHERE "case" = ?',
            (task.place, task.source, task.case),
        )
        if isinstance(task, Task):
            self._remember(f"touched {task.case}", task.touched)

    def wait(self, case: str) -> None:
        """Back to pending."""
        self._file.write(
            "UPDATE cases SET state = ?, reason = '' WHERE \"case\" = ?", (State.PENDING, case)
        )

    def start(self, case: str) -> None:
        """Handed to a worker."""
        self._file.write(
            'UPDATE cases SET state = ?, attempts = attempts + 1, started = ? WHERE "case" = ?',
            (State.RUNNING, time.time(), case),
        )

    def finish(self, outcome: Outcome) -> None:
        """Enter how a case ended; for a done one, only after its mask is in place.

        What an earlier run wrote stays known where this one wrote nothing: it is still ours.
        """
        written = outcome.written
        self._file.write(
            "UPDATE cases SET state = ?, reason = ?, warnings = ?, flags = ?, volumes_ml = ?,"
            " confidence = ?, facts = ?, seconds = ?, segment_seconds = ?, finished = ?,"
            " output = COALESCE(?, output), output_bytes = COALESCE(?, output_bytes),"
            " output_modified_ns = COALESCE(?, output_modified_ns),"
            " output_sha256 = COALESCE(?, output_sha256)"
            ' WHERE "case" = ?',
            (
                outcome.state,
                outcome.reason,
                json.dumps(list(outcome.warnings)),
                json.dumps([[flag.kind, flag.label, flag.text] for flag in outcome.flags]),
                json.dumps(dict(outcome.volumes_ml)),
                json.dumps(dict(outcome.confidence)),
                json.dumps(dict(outcome.facts)),
                outcome.seconds,
                outcome.stage_seconds.get("segment", 0.0),
                time.time(),
                written.name if written else None,
                written.size_bytes if written else None,
                written.modified_ns if written else None,
                written.sha256 if written else None,
                outcome.case,
            ),
        )

    def touched(self, case: str, modified_ns: int) -> None:
        """The mask is the same, but copied: its file has another time."""
        self._file.write(
            'UPDATE cases SET output_modified_ns = ? WHERE "case" = ?', (modified_ns, case)
        )

    def remember(self, key: str, value: Any) -> None:
        """Keep a fact about the batch (plain JSON)."""
        self._remember(key, json.dumps(value))

    def recall(self, key: str) -> Any:
        """A fact kept before, or ``None``."""
        text = self._fact(key)
        with self._file.refusals():
            return None if text is None else parse_json(text)

    def entry(self, case: str) -> Entry | None:
        """One case, or ``None`` where it was never entered."""
        rows = self._file.read('SELECT * FROM cases WHERE "case" = ?', (case,))
        with self._file.refusals():
            return entry_of(rows[0]) if rows else None

    def entries(self) -> list[Entry]:
        """Every case in the order of discovery."""
        rows = self._file.read("SELECT * FROM cases ORDER BY position", ())
        with self._file.refusals():
            return [entry_of(row) for row in rows]

    def count(self) -> dict[State, int]:
        """Number of cases in each state."""
        rows = self._file.read("SELECT state, COUNT(*) AS n FROM cases GROUP BY state", ())
        with self._file.refusals():
            return dict.fromkeys(State, 0) | {State(row["state"]): row["n"] for row in rows}

    def together(self) -> AbstractContextManager[None]:
        """Everything in the block becomes visible at once, with one flush."""
        return self._file.together()

    def named(self) -> Named:
        """Which scan has which case, in every run into this folder."""
        rows = self._file.read("SELECT key, value FROM facts WHERE key LIKE 'scan %'", ())
        cases = {row["key"].removeprefix("scan "): row["value"] for row in rows}
        keys = {case: key for key, case in cases.items()}
        moved = {e.identity: keys[e.case] for e in self.entries() if e.case in keys and e.written}
        return Named(cases, moved)

    def keep_name(self, task: Task | Unusable) -> None:
        """Remember which scan a case is."""
        if task.key:
            self._file.write(
                "DELETE FROM facts WHERE value = ? AND key LIKE 'scan %'", (task.case,)
            )
            self._remember(f"scan {task.key}", task.case)

    def touch_of(self, case: str) -> str:
        """When the files of a case were last touched, as it was entered; empty where unknown."""
        return self._fact(f"touched {case}") or ""

    def forget(self, case: str) -> None:
        """A case whose scan is gone and that has no mask; its name is free again."""
        self._file.write('DELETE FROM cases WHERE "case" = ?', (case,))
        self._forget_name(case)
        self._file.write("DELETE FROM facts WHERE key = ?", (f"touched {case}",))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _known_recipe(self, recipe: Recipe) -> str | None:
        """What the folder is bound to.

        Raises:
            BadConfig: to another command: masks and volumes share no folder.
        """
        known = self._fact("recipe")
        with self._file.refusals():
            is_of_models = None if known is None else bool(Recipe.of_text(known).models)
        if is_of_models not in (None, bool(recipe.models)):
            raise BadConfig(
                "the folder holds the results of another command",
                path=self._file.path.parent,
                found="volumes of medseg convert" if recipe.models else "masks of medseg segment",
                remedy="Choose another --output.",
            )
        return known

    def _fact(self, key: str) -> str | None:
        rows = self._file.read("SELECT value FROM facts WHERE key = ?", (key,))
        return None if not rows else str(rows[0]["value"])

    def _forget_name(self, case: str) -> None:
        self._file.write("DELETE FROM facts WHERE value = ? AND key LIKE 'scan %'", (case,))

    def _remember(self, key: str, text: str) -> None:
        self._file.write("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, text))


def open_ledger(folder: Path) -> Ledger:
    """The ledger of an output folder, made where missing; hold the folder's lock meanwhile.

    Raises:
        BadOutput: the file cannot be written, is not a ledger, or is of a later medseg.
    """
    path = folder / NAME
    ledger = Ledger(open_file(path))
    version = ledger.recall("version")
    if version is None:
        ledger.remember("version", _VERSION)
    elif version != _VERSION:
        raise BadOutput(
            "the ledger is of another version of medseg",
            path=path,
            found=version,
            expected=_VERSION,
            remedy="Choose another --output.",
        )
    return ledger


def remembered(folder: Path) -> Named:
    """What a folder remembers of scans; nothing where there is no ledger yet.

    Raises:
        BadOutput: the ledger cannot be read.
    """
    if not (folder / NAME).is_file():
        return Named()
    with closing(look(folder)) as ledger:
        return ledger.named()


def look(folder: Path) -> Ledger:
    """The ledger of an output folder, to read; a run may be writing to it.

    Raises:
        BadOutput: the folder has none.
    """
    path = folder / NAME
    if not path.is_file():
        raise BadOutput(
            "no batch was run into this folder",
            path=folder,
            found=f"no {NAME}",
            expected="the --output of medseg segment",
        )
    return Ledger(look_into(path))
