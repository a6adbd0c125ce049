"""An archive of scans becomes a folder of NIfTI volumes: isolated, resumable, with a table."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from medseg.batch.case import Clock
from medseg.batch.entry import Entry, Recipe
from medseg.batch.executors import Patience
from medseg.batch.gather import stamp_of, touch_of
from medseg.batch.isolation import guarded, relative
from medseg.batch.ledger import Ledger, open_ledger
from medseg.batch.process import ProcessExecutor
from medseg.batch.resume import Plan, plan_run
from medseg.batch.runner import Listener, run_batch
from medseg.batch.taken import taken
from medseg.batch.task import Outcome, State, Task, Written
from medseg.batch.work import Loaded, Tell
from medseg.errors import BadOutput, MedsegError
from medseg.readers.entry import Status
from medseg.readers.values import NonFinite
from medseg.scans import FoundScan, ListedScan, read
from medseg.scans.table import grid_columns, line, table_text
from medseg.volume import Volume
from medseg.writers import write_volume
from medseg.writers.atomic import atomic_path, sweep
from medseg.writers.guard import guard_outputs
from medseg.writers.lock import FolderLock
from medseg.writers.nifti import ENDING

TABLE = "scans.csv"

#: Worker processes, each with one volume in memory: one writes while the other reads.
_AT_A_TIME = 2

#: What the ledger calls the folder's contents.
_RECIPE = Recipe((), {"contents": "volumes of medseg convert"})


@dataclass(frozen=True)
class _Reader:
    """Reads a found scan with the rule for voxels without a value."""

    scan: FoundScan
    nonfinite: NonFinite

    def read(self) -> Volume:
        return self.scan.read(nonfinite=self.nonfinite)


@dataclass(frozen=True)
class Conversion:
    """Writes each scan on its own grid; see :class:`~medseg.batch.work.Work`.

    Attributes:
        output: where the volumes go.
        folder: where relative paths of scans start.
    """

    output: Path
    folder: Path = field(default_factory=Path.cwd)

    @property
    def threads(self) -> int:
        """One volume in memory, and one suspect where the process dies."""
        return 1

    def load(self) -> Loaded:
        """Nothing but the folder."""
        os.chdir(self.folder)
        return Loaded(self._run)

    def _run(self, task: Task, tell: Tell) -> Outcome:
        clock = Clock(task.case, tell)

        def road() -> Outcome:
            clock.enter("read")
            volume = task.scan.read()
            clock.enter("write")
            path = self.output / f"{task.case}{ENDING}"
            write_volume(volume, path)
            return Outcome(
                task.case,
                State.DONE,
                warnings=tuple(relative(warning, task) for warning in volume.origin.warnings),
                facts=grid_columns(volume.geometry),
                written=Written.of(path),
            )

        outcome, _ = guarded(task, road)
        clock.enter("end")
        return replace(outcome, stage_seconds=clock.seconds)


@dataclass(frozen=True)
class Converted:
    """What a run came to.

    Attributes:
        rows: of the table, in the order in which the scans were found.
        remarks: about what was there already.
        interrupted: whether the user ended it before its last scan.
    """

    rows: Sequence[dict[str, str]]
    remarks: Sequence[str] = ()
    interrupted: bool = False


@contextmanager
def guarded_folder(output: Path, arguments: Sequence[Path], *, overwrite: bool) -> Iterator[None]:
    """The output folder, made where missing, with a guard over its table.

    A table that was edited, or that is an argument itself, is not replaced.

    Raises:
        BadOutput: the folder cannot be written, or a table stands there that must stay.
    """
    with guard_outputs(
        output, "convert", claims=[TABLE], patterns=[TABLE], inputs=arguments, overwrite=overwrite
    ):
        yield


@contextmanager
def held_folder(
    output: Path, patience: Patience | None = None, *, break_lock: bool = False
) -> Iterator[ProcessExecutor]:
    """The output folder, held for this process, and workers that wait for scans.

    Enter it before anything is searched: the workers start as copies of this process, which
    costs next to nothing as long as it has a single thread.

    Raises:
        BadOutput: another run holds the folder.
    """
    work = Conversion(output.absolute())
    with (
        ProcessExecutor(work, workers=_AT_A_TIME, patience=patience, forked=True) as executor,
        FolderLock(output, break_lock=break_lock),
    ):
        sweep(output)
        yield executor


def convert_scans(
    listed: Sequence[ListedScan],
    found_rows: Sequence[dict[str, str]],
    output: Path,
    executor: ProcessExecutor,
    *,
    nonfinite: NonFinite = NonFinite.KEEP,
    overwrite: bool = False,
    listener: Listener | None = None,
) -> Converted:
    """Write every usable scan that is not there yet, and the table of all.

    Args:
        listed: usable or not, with unique cases.
        found_rows: of the table, one a scan, as it was found.
        output: held by :func:`held_folder`.
        executor: from the same.
        nonfinite: what becomes of NaN and infinite voxels.
        overwrite: the user asked to replace files that another command wrote, or that were edited.
        listener: of the run.

    Raises:
        BadConfig: the folder holds masks of ``medseg segment``.
        BadOutput: the folder was lost on the way.
    """
    with closing(open_ledger(output)) as ledger:
        ledger.adopt(_RECIPE)
        tasks = [_task(one, nonfinite) for one in listed if one.scan.status == Status.USABLE]
        plan = _plan(tasks, ledger, output, overwrite, listed)

        def rows() -> list[dict[str, str]]:
            entries = {entry.case: entry for entry in ledger.entries()}
            return [
                known | _change(one.scan, entries.get(one.scan.case), plan)
                for one, known in zip(listed, found_rows, strict=True)
            ]

        def write() -> None:
            write_table(rows(), output)

        write()  # whatever happens from here on, there is a table
        try:
            summary = run_batch(
                plan.tasks, executor, ledger, replace(listener or Listener(), tables=write)
            )
        except MedsegError:
            with suppress(BadOutput):
                write()
            raise
        write()
        return Converted(rows(), plan.remarks, summary.interrupted)


def _plan(
    tasks: Sequence[Task],
    ledger: Ledger,
    output: Path,
    overwrite: bool,
    listed: Sequence[ListedScan],
) -> Plan:
    """What is to do; a scan whose place is taken is left out."""
    before = {entry.case: entry for entry in ledger.entries()}
    plan = plan_run(
        tasks, ledger, output, retry=frozenset({State.FAILED}), is_whole=_is_whole_volume
    )
    inputs = (Path(source.path) for one in listed for source in one.scan.content.sources)
    reasons = taken(
        plan.tasks,
        before,
        output,
        name_of=lambda case: f"{case}{ENDING}",
        is_whole=_is_whole_volume,
        inputs=inputs,
        overwrite=overwrite,
    )
    free = tuple(task for task in plan.tasks if task.case not in reasons)
    return replace(plan, tasks=free, left_out={**plan.left_out, **reasons})


def write_table(rows: Sequence[dict[str, str]], output: Path) -> None:
    """Write ``scans.csv``."""
    with atomic_path(output / TABLE) as path:
        path.write_text(table_text(rows), encoding="utf-8")


def _task(one: ListedScan, nonfinite: NonFinite) -> Task:
    identity, size = stamp_of(one)
    scan = one.scan
    return Task(
        scan.case,
        scan.source,
        str(one.location),
        f"{identity}, not finite: {nonfinite.name.lower()}",
        size,
        _Reader(scan, nonfinite),
        key=one.key,
        touched=touch_of(one),
    )


def _change(scan: FoundScan, entry: Entry | None, plan: Plan) -> dict[str, str]:
    """What of a scan's row is no longer as it was found."""
    if scan.status != Status.USABLE or entry is None:
        return {}
    if scan.case in plan.left_out:
        return {"status": Status.REFUSED, "reason": line(plan.left_out[scan.case])}
    if entry.state is State.DONE:
        warnings = {"warnings": line("; ".join(entry.warnings))}
        return {"status": "converted"} | warnings | dict(entry.facts)
    if entry.state in (State.PENDING, State.RUNNING):
        return {}
    return {"status": entry.state.value, "reason": line(entry.reason)}


def _is_whole_volume(path: Path) -> bool:
    try:
        read(path)
    except MedsegError:
        return False
    return True
