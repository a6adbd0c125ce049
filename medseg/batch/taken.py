"""Cases whose output would replace a file that the ledger does not know as its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from medseg.batch.entry import Entry
from medseg.batch.task import State, Task
from medseg.checksums import sha256_of
from medseg.errors import BadOutput
from medseg.writers.guard import OutputGuard


def taken(
    tasks: Sequence[Task],
    before: Mapping[str, Entry],
    output: Path,
    *,
    name_of: Callable[[str], str],
    is_whole: Callable[[Path], bool],
    inputs: Iterable[Path],
    overwrite: bool,
) -> dict[str, str]:
    """Case to reason, of those that must not be written.

    Args:
        tasks: about to run.
        before: entries of the ledger as the run before left them.
        output: the folder.
        name_of: case to the file, relative to the folder.
        is_whole: whether a file can be read to its end.
        inputs: files that nothing replaces.
        overwrite: the user asked to replace foreign and edited files.
    """
    names = {task.case: name_of(task.case) for task in tasks}
    doubtful = {case: name for case, name in names.items() if (output / name).exists()}
    if not doubtful:
        return {}
    entries = {name: before[case] for case, name in doubtful.items() if case in before}
    record = _Written(entries, output, is_whole)
    guard = OutputGuard(output, record, inputs=inputs, overwrite=overwrite)
    reasons = {}
    for case, name in doubtful.items():
        try:
            guard.clear(output / name)
        except BadOutput as error:
            reasons[case] = " ".join(filter(None, [error.problem, f"({name}).", error.remedy]))
    return reasons


class _Written:
    """What the ledger has of files that stand in the folder."""

    def __init__(
        self, entries: Mapping[str, Entry], output: Path, is_whole: Callable[[Path], bool]
    ) -> None:
        self._entries, self._output, self._is_whole = entries, output, is_whole

    def checksums(self, name: str) -> Collection[str]:
        """Of the file as it was written; as it is, where a run was killed or it is damaged."""
        entry = self._entries.get(name)
        if entry is None:
            return ()
        path = self._output / name
        killed = entry.state in (State.RUNNING, State.PENDING) and entry.attempts > 0
        if killed or (entry.state is State.DONE and not self._is_whole(path)):
            return (sha256_of(path),)
        return () if entry.written is None else (entry.written.sha256,)

    def add(self, name: str, sha256: str) -> None:
        """Nothing: the ledger is updated when the case is done."""
