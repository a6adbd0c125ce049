"""Runs mutants one after another in a process that may crash or hang, and is replaced then."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

#: Of the time of the processor; an idle wait is given so many times more.
SECONDS, IDLE = 10, 6
BAD = ("crash", "hang", "memory", "wrong")


class TooLong(BaseException):
    """The time is over."""


@dataclass(frozen=True)
class Outcome:
    """What became of one mutant."""

    number: int
    seed: str
    mutation: str
    result: str
    detail: str = ""


def start_clock() -> None:
    """From now on :class:`TooLong` is raised where a mutant takes too long."""
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, _too_long)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, IDLE * SECONDS)


def _too_long(signum: int, frame: object) -> None:
    raise TooLong


def stop_clock() -> None:
    """The mutant is done in time."""
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)


def run(
    examine: Callable[[int], Outcome], numbers: Sequence[int], begin: Callable[[], object]
) -> Iterator[Outcome]:
    """The outcome of every mutant; a worker that dies or hangs is replaced.

    Args:
        examine: tries one mutant.
        numbers: of the mutants.
        begin: called once in every worker.
    """
    context = multiprocessing.get_context("fork")
    left = list(numbers)
    while left:
        ours, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(examine, left, theirs, begin))
        worker.start()
        theirs.close()
        current = left[0]
        try:
            while left:
                message = _message(ours)
                if isinstance(message, int):
                    current = message
                    continue
                left = [number for number in left if number > current]
                if not isinstance(message, Outcome):
                    worker.kill()
                    worker.join()
                    yield Outcome(current, "?", "?", *(message or _death(worker.exitcode)))
                    break
                yield message
        finally:
            worker.kill()  # where nobody wants more; else it has ended
            worker.join()


def _message(channel: Connection) -> int | Outcome | tuple[str, str] | None:
    """The next message; a verdict where none came in time, nothing where the worker died."""
    if not channel.poll(2 * IDLE * SECONDS):
        return "hang", "not even interruptible"
    try:
        message: int | Outcome = channel.recv()
    except EOFError:
        return None
    return message


def _death(exit_code: int | None) -> tuple[str, str]:
    return "crash", f"process died ({exit_code})"


def _work(
    examine: Callable[[int], Outcome],
    numbers: Sequence[int],
    channel: Connection,
    begin: Callable[[], object],
) -> None:
    begin()
    for number in numbers:
        channel.send(number)
        channel.send(examine(number))
    channel.close()
