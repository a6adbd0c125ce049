"""A batch runs from its first case to its last, losing none."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from medseg.batch.executors import Executor, Notice
from medseg.batch.ledger import Ledger
from medseg.batch.task import Forecast, Outcome, State, Task
from medseg.errors import BadOutput, MedsegError
from medseg.progress import Progress, silent

#: Tables beside the masks are brought up to date this often while a batch runs.
SECONDS_BETWEEN_TABLES = 60.0

#: A forecast of memory is shown where it is this many times the highest shown before.
HIGHER = 1.1


@dataclass(frozen=True)
class Listener:
    """Callbacks for what happens.

    Attributes:
        progress: after every case.
        notice: a line worth reading.
        tables: asked now and then to write cases.csv and the like.
        begun: the model is loaded; takes the seconds that the cases will need, if known.
        trouble: the same for a case that was refused or failed; a notice where not given.
        foreseen: a case is going to take more memory than any before it.
    """

    progress: Progress = silent
    notice: Callable[[str], object] = lambda text: None
    tables: Callable[[], object] = lambda: None
    begun: Callable[[float | None], object] = lambda seconds: None
    foreseen: Callable[[Forecast], object] = lambda forecast: None
    trouble: Callable[[str], object] | None = None


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        finished: cases it settled.
        interrupted: whether the user ended it before its last case.
        seconds: wall time.
        stage_seconds: of each stage, summed over cases: read, wait, segment, write; and of the
            parts of segment: prepare, trial, network, restore, clean.
    """

    finished: int
    interrupted: bool
    seconds: float
    stage_seconds: Mapping[str, float]


def run_batch(
    tasks: Sequence[Task], executor: Executor, ledger: Ledger, listener: Listener | None = None
) -> Summary:
    """Run every task through an executor that was entered already.

    The ledger is updated before a case starts and after its mask is in place. The first
    Ctrl-C (or SIGTERM) lets cases that are under way finish; the second leaves them pending.

    Raises:
        BadOutput: the output folder was lost (full, read-only, gone); no case is blamed.
        MedsegError: the executor cannot continue.
    """
    run = _Run(executor, ledger, listener or Listener(), len(tasks))
    with _patient_interrupt(run.ask_to_stop):
        try:
            run.go(deque(tasks))
        except KeyboardInterrupt:
            run.give_back()
            run.interrupted = True
        except MedsegError:
            run.give_back()
            raise
    return run.summary()


class _Run:
    """The state of one run of a batch."""

    def __init__(self, executor: Executor, ledger: Ledger, listener: Listener, total: int) -> None:
        self._executor, self._ledger, self._listener = executor, ledger, listener
        self._total = total
        self._under_way: set[str] = set()
        self._finished, self._bad = 0, 0
        self._stage_seconds: Counter[str] = Counter()
        self._foreseen_bytes = 0
        self._started = self._tables_at = time.monotonic()
        self.interrupted = False

    def ask_to_stop(self) -> None:
        """Start no more cases."""
        self.interrupted = True
        self._listener.notice(
            f"stopping: {len(self._under_way)} cases under way will finish; "
            "press Ctrl-C again to leave them for the next run"
        )

    def go(self, waiting: deque[Task]) -> None:
        while self._under_way or (waiting and not self.interrupted):
            self._begin(waiting)
            events = self._executor.collect(seconds=1.0)
            self._settle([event for event in events if isinstance(event, Outcome)])
            for event in events:
                match event:
                    case Notice(text):
                        self._listener.notice(text)
                    case Forecast():
                        self._foresee(event)
                    case Outcome():
                        self._receive(event)
            self._refresh_tables()

    def give_back(self) -> None:
        """Cases under way are pending again, as far as the ledger can still be written."""
        try:
            for case in self._under_way:
                self._ledger.wait(case)
        except BadOutput:
            pass  # they stand as running, which the next run takes for the same
        self._under_way.clear()

    def summary(self) -> Summary:
        seconds = time.monotonic() - self._started
        return Summary(self._finished, self.interrupted, seconds, dict(self._stage_seconds))

    def _begin(self, waiting: deque[Task]) -> None:
        """Start as many cases as there is room for, entered in the ledger with one flush."""
        room = 0 if self.interrupted else self._executor.capacity - len(self._under_way)
        tasks = [waiting.popleft() for _ in range(min(room, len(waiting)))]
        if not tasks:
            return
        with self._ledger.together():
            for task in tasks:
                self._ledger.start(task.case)
        self._under_way.update(task.case for task in tasks)
        for task in tasks:
            self._executor.submit(task)

    def _foresee(self, forecast: Forecast) -> None:
        if forecast.host_bytes > HIGHER * self._foreseen_bytes:
            self._foreseen_bytes = forecast.host_bytes
            self._listener.foreseen(forecast)

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        """Enter how cases ended, with one flush."""
        settled = [outcome for outcome in outcomes if not outcome.output_lost]
        if settled:
            with self._ledger.together():
                for outcome in settled:
                    self._ledger.finish(outcome)
        self._under_way.difference_update(outcome.case for outcome in settled)
        for outcome in outcomes:
            if outcome.output_lost:
                raise BadOutput(
                    "the output folder was lost; no case is to blame",
                    found=outcome.reason,
                    remedy="Make room or bring the folder back, then run the same command again.",
                )

    def _receive(self, outcome: Outcome) -> None:
        self._finished += 1
        for seconds in (outcome.stage_seconds, outcome.segment_seconds):
            self._stage_seconds.update(seconds)
        if outcome.state in (State.REFUSED, State.FAILED):
            self._bad += 1
            notice = self._listener.trouble or self._listener.notice
            notice(f"{outcome.case}: {outcome.state}: {outcome.reason}")
        rate = self._finished / max(time.monotonic() - self._started, 1e-9) * 60
        facts = {"cases_per_minute": round(rate, 1)} | ({"bad": self._bad} if self._bad else {})
        self._listener.progress(self._finished, self._total, **facts)

    def _refresh_tables(self) -> None:
        if time.monotonic() - self._tables_at > SECONDS_BETWEEN_TABLES:
            self._listener.tables()
            self._tables_at = time.monotonic()


@contextmanager
def _patient_interrupt(ask_to_stop: Callable[[], None]) -> Iterator[None]:
    """The first SIGINT or SIGTERM in the block asks, the second raises KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    is_stopping = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal is_stopping
        if is_stopping:
            raise KeyboardInterrupt
        is_stopping = True
        ask_to_stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
