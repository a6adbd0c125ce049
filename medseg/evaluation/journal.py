"""Cases that are scored already, kept on disk until the evaluation is whole.

A line of JSON for each case that begins and for each that is scored. The next run with the same
masks, cohort and rules goes on after the last line; a case that began twice and never ended ends
its process, and is scored in a process of its own.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg import __version__
from medseg.errors import BadOutput
from medseg.evaluation.scores import SCORED
from medseg.evaluation.task import Outcome, Task
from medseg.files import is_file, read_bytes
from medseg.manifests.reading import file_of
from medseg.readers.parts import state_of

NAME = ".scoring.jsonl"


class Journal:
    """Outcomes by case, on disk.

    Args:
        path: the file; made with its folder at once, so that a place that cannot be written is
            found before any case is scored.

    Raises:
        BadOutput: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._outcomes: dict[str, Outcome] = {}
        self._begun: Counter[str] = Counter()
        lines = _text(path).splitlines() if is_file(path) else []
        for line in lines:
            self._take(line)
        self._write({"version": __version__})

    def outcome(self, task: Task) -> Outcome | None:
        """What an earlier run scored, if masks and rules are the same; no refusal, to try again."""
        outcome = self._outcomes.get(_key(task))
        return outcome if outcome is not None and outcome.status == SCORED else None

    def deadly(self, task: Task) -> bool:
        """Whether the case began before, and nobody heard of it again."""
        key = _key(task)
        return self._begun[key] > 0 and key not in self._outcomes

    def begin(self, task: Task) -> None:
        """Note that a case is about to be scored in this process."""
        self._write({"begin": _key(task)})

    def end(self, task: Task, outcome: Outcome) -> None:
        """Note the outcome of a case."""
        content = {
            "rows": outcome.rows,
            "status": outcome.status,
            "reason": outcome.reason,
            "facts": outcome.facts,
            "leaked": outcome.leaked,
            "look": b64encode(outcome.look).decode("ascii"),
        }
        self._write({"end": _key(task), **content})

    def remove(self) -> None:
        """The evaluation is whole: nothing is left to go on with."""
        self._path.unlink(missing_ok=True)

    def _write(self, entry: dict[str, Any]) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise BadOutput(
                "the folder cannot be written", path=self._path.parent, found=error.strerror
            ) from None

    def _take(self, line: str) -> None:
        """Remember a line; one that a kill cut short is no line."""
        try:
            entry = json.loads(line)
            if "begin" in entry:
                self._begun[str(entry["begin"])] += 1
                return
            self._outcomes[str(entry["end"])] = Outcome(
                tuple(_row(row) for row in entry["rows"]),
                str(entry["status"]),
                str(entry["reason"]),
                {str(name): str(text) for name, text in entry["facts"].items()},
                leaked=bool(entry["leaked"]),
                look=b64decode(entry["look"], validate=True),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return


def _text(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8", "replace")
    except OSError as error:
        raise BadOutput("the file cannot be read", path=path, found=error.strerror) from None


def _row(cells: Sequence[Any]) -> tuple[str, str, str, str, float, str, str]:
    case, patient, label, metric, value, unit, note = cells
    return case, patient, label, metric, float(value), unit, note


def _key(task: Task) -> str:
    """The same for the same masks, cohort, labels, rules and version."""
    case = task.case
    content = [
        __version__,
        repr(case),
        [_state(path) for path in (task.prediction, case.label, *case.sources) if path],
        repr(task.labels),
        repr(task.cohort.labels),
        sorted(task.cohort.remap.items()),
        sorted(task.training_pixels),
        str(task.model_scans),
        task.config.model_dump(mode="json"),
    ]
    return hashlib.sha256(json.dumps(content).encode("utf-8", "replace")).hexdigest()


def _state(path: Path) -> list[Any]:
    """What changes when the file, or the folder of a series, does."""
    try:
        return [str(path), *state_of(file_of(path))]
    except (OSError, ValueError):
        return [str(path)]
