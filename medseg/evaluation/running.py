"""Cases scored side by side: a process that dies costs its case alone."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from medseg.evaluation.journal import Journal
from medseg.evaluation.scoring import score_case, unscored
from medseg.evaluation.task import Outcome, Task

_log = logging.getLogger(__name__)

#: Said of a case whose process ended while it was scored, twice.
DIED = "the process that scored it was ended, twice: most often the system was out of memory"
#: ... and of one that ended the whole run, where no process can be started to try it again.
NO_PROCESS = "it ended an earlier run, and no process of its own can be started here (/dev/shm?)"


def score_all(tasks: Sequence[Task], workers: int, journal: Journal | None) -> Iterator[Outcome]:
    """The outcome of each task, in order.

    Args:
        tasks: one a case.
        workers: processes; 1 scores here.
        journal: where outcomes of an earlier run are found and new ones kept.
    """
    outcomes = _known(tasks, journal)
    left = [number for number in range(len(tasks)) if number not in outcomes]
    pool = _pool(tasks, left, workers) if workers > 1 and len(left) > 1 else None
    try:
        for number, task in enumerate(tasks):
            if number in outcomes:
                yield outcomes[number]
                continue
            outcome = pool.outcome(number) if pool else _score_here(task, journal)
            if journal is not None:
                journal.end(task, outcome)
            yield outcome
    finally:
        if pool:
            pool.close()


def _known(tasks: Sequence[Task], journal: Journal | None) -> dict[int, Outcome]:
    """Outcomes of an earlier run, by the place of the task."""
    if journal is None:
        return {}
    outcomes = {number: journal.outcome(task) for number, task in enumerate(tasks)}
    return {number: outcome for number, outcome in outcomes.items() if outcome is not None}


def _score_here(task: Task, journal: Journal | None) -> Outcome:
    """Score in this process, unless the case has ended one before."""
    if journal is None:
        return score_case(task)
    if journal.deadly(task):
        return score_alone(task)
    journal.begin(task)
    return score_case(task)


def score_alone(task: Task) -> Outcome:
    """Score a case in a process of its own, and in another one where that dies."""
    for _ in range(2):
        try:
            executor = _executor(1)
        except (OSError, ImportError):
            return unscored(task, NO_PROCESS)
        try:
            return executor.submit(score_case, task).result()
        except BrokenProcessPool:
            continue
        finally:
            executor.shutdown(wait=False)
    return unscored(task, DIED)


def _pool(tasks: Sequence[Task], left: Sequence[int], workers: int) -> _Pool | None:
    """Worker processes; none where the system has no locks for them, as without ``/dev/shm``."""
    try:
        return _Pool(tasks, left, workers)
    except (OSError, ImportError) as error:
        _log.warning("cases are scored one after the other: no processes (%s)", error)
        return None


class _Pool:
    """Worker processes with every task under way; made again when one of them has died."""

    def __init__(self, tasks: Sequence[Task], left: Sequence[int], workers: int) -> None:
        self._tasks = tasks
        self._workers = min(workers, len(left))
        self._futures: dict[int, Future[Outcome]] = {}
        self._start(left)

    def outcome(self, number: int) -> Outcome:
        """The outcome of a task; asked for in the order of the tasks."""
        try:
            return self._futures[number].result()
        except BrokenProcessPool:  # this case's process died, or a neighbour's
            outcome = score_alone(self._tasks[number])
            self.close()
            self._start([n for n, f in self._futures.items() if n > number and not _done(f)])
            return outcome

    def close(self) -> None:
        """Stop the processes; what is under way is dropped."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _start(self, numbers: Sequence[int]) -> None:
        self._executor = _executor(self._workers)
        for number in numbers:
            try:
                self._futures[number] = self._executor.submit(score_case, self._tasks[number])
            except BrokenProcessPool as error:  # it broke while tasks were handed over
                self._futures[number] = Future()
                self._futures[number].set_exception(error)


def _done(future: Future[Outcome]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _executor(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)


def _end_with_parent() -> None:
    """Let a worker end when its parent is killed, and without a word by Ctrl-C, as the parent."""
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(1))
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
