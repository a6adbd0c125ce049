"""The cases that are still to do, given what the output folder already holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from medseg.batch.entry import Entry
from medseg.batch.ledger import Ledger
from medseg.batch.task import PLACES, State, Task, Unusable, Written
from medseg.errors import MedsegError
from medseg.readers.labels import contour_names, needs_image, read_labels
from medseg.writers import atomic


class Check(StrEnum):
    """How closely masks that are already there are looked at."""

    #: Size, time and header.
    QUICK = "quick"
    #: Every checksum.
    CHECKSUM = "checksum"


@dataclass(frozen=True)
class Plan:
    """What a run has to do.

    Attributes:
        tasks: in the order in which to run them.
        remarks: what was noticed about earlier work, for the user.
        left_out: case to reason, of those whose name another scan's output has.
    """

    tasks: tuple[Task, ...]
    remarks: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


def is_whole_mask(path: Path) -> bool:
    """Whether a mask can be read to its end."""
    try:
        if needs_image(path) and contour_names(path):
            return True
        read_labels(path)
    except MedsegError:
        return False
    return True


def plan_run(
    found: Sequence[Task | Unusable],
    ledger: Ledger,
    folder: Path,
    *,
    check: Check = Check.QUICK,
    retry: frozenset[State] = frozenset(),
    is_whole: Callable[[Path], bool] = is_whole_mask,
    companions: Callable[[str], Sequence[Path]] = lambda case: (),
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Plan:
    """Enter what was found and decide, case by case, what is left to do.

    Args:
        found: from discovery; case names are unique.
        ledger: of `folder`, whose lock the caller holds.
        folder: the output.
        check: of masks that are already there.
        retry: settled states to try again.
        is_whole: whether a file that differs from what was written can be read to its end.
        companions: files that a case has beside its mask, by its name.
        progress: called as (cases looked at, cases in all).
    """
    tasks: list[tuple[int, Task]] = []
    remarks: list[str] = []
    left_out: dict[str, str] = {}
    with ledger.together():
        for number, item in enumerate(found):
            entry = ledger.entry(item.case)
            if entry is not None and (reason := _conflict(item, entry)):
                left_out[item.case] = reason
                remark = f"{reason}. Choose another --output"
            else:
                remark = _bring_up_to_date(item, entry, ledger, folder, check, is_whole)
                if not remark and (gone := _lost(ledger.entry(item.case), companions)):
                    ledger.wait(item.case)
                    remark = f"{gone} is gone; it is done again"
            if remark:
                remarks.append(f"{item.case}: {remark}")
            if item.case not in left_out:
                ledger.keep_name(item)
            entry = ledger.entry(item.case)
            progress(number + 1, len(found))
            if entry is None or not isinstance(item, Task) or item.case in left_out:
                continue
            if entry.state in retry or entry.state is State.RUNNING:
                ledger.wait(item.case)
            elif entry.state is not State.PENDING:
                continue
            tasks.append((entry.attempts, item))
    # Cases under way when a run was killed come last, so that they cannot kill the next one first.
    tasks.sort(key=lambda pair: pair[0])
    return Plan(tuple(task for _, task in tasks), tuple(remarks), left_out)


def forget_gone(ledger: Ledger, found: Sequence[Task | Unusable], searched: Sequence[Path]) -> None:
    """Forget cases without a mask whose scans were removed, or are something else now.

    Args:
        ledger: of the output.
        found: in this run.
        searched: places that this run looked into; what it did not find there is gone.
    """
    names = {item.case for item in found}
    roots = [Path(os.path.abspath(place)) for place in searched]  # noqa: PTH100
    with ledger.together():
        for entry in ledger.entries():
            if entry.case in names or entry.state is State.DONE:
                continue
            places = [Path(place) for place in entry.place.split(PLACES)]
            if not all(map(_exists, places)) or any(
                place.is_relative_to(root) for place in places for root in roots
            ):
                ledger.forget(entry.case)


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except (OSError, ValueError):
        return False
    return True


def sweep(folder: Path) -> None:
    """Remove what killed runs left half-written, wherever below the folder it was to appear."""
    for place, _, _ in os.walk(folder):  # an unreadable folder is passed over
        atomic.sweep(Path(place))


def _conflict(item: Task | Unusable, entry: Entry) -> str:
    """Why a case cannot have its name, where the output of another scan has it."""
    same = entry.identity == item.identity or entry.place == item.place
    if same or entry.state is not State.DONE:
        return ""
    return (
        f"the folder already holds the output of another scan named {item.case} "
        f"({entry.source}); this one is left out"
    )


def _bring_up_to_date(
    item: Task | Unusable,
    entry: Entry | None,
    ledger: Ledger,
    folder: Path,
    check: Check,
    is_whole: Callable[[Path], bool],
) -> str:
    """Enter or correct one case; a remark where earlier work could not simply stand."""
    if entry is None:
        ledger.add(item)
        return ""
    if entry.identity != item.identity:
        ledger.add(item)
        return "the input has changed since it was entered; it is done again"
    if entry.place == item.place and _was_touched(item, ledger):
        ledger.add(item)
        return "the input may have changed: its files were replaced or touched; it is done again"
    if (entry.place, entry.source) != (item.place, item.source):
        ledger.moved(item)
    if isinstance(item, Unusable):
        if entry.state is not item.state or entry.reason != item.reason:
            ledger.add(item)
        return ""
    if entry.state is State.DONE:
        return _look_at_output(entry, ledger, folder, check, is_whole)
    return ""


def _lost(entry: Entry | None, companions: Callable[[str], Sequence[Path]]) -> str:
    """A file that a finished case should have beside its mask and has not; empty for none."""
    if entry is None or entry.state is not State.DONE:
        return ""
    return next((path.name for path in companions(entry.case) if not path.is_file()), "")


def _was_touched(item: Task | Unusable, ledger: Ledger) -> bool:
    """Whether files of the same size and time may hold something else than when it was entered."""
    known = ledger.touch_of(item.case)
    return isinstance(item, Task) and bool(known and item.touched) and known != item.touched


def _look_at_output(
    entry: Entry, ledger: Ledger, folder: Path, check: Check, is_whole: Callable[[Path], bool]
) -> str:
    written = entry.written
    path = folder / written.name if written else None
    if written is None or path is None or not path.is_file():
        ledger.wait(entry.case)
        return "its file is gone; it is done again"
    status = path.stat()
    same_stamp = (status.st_size, status.st_mtime_ns) == (written.size_bytes, written.modified_ns)
    if same_stamp and check is Check.QUICK and _has_header(path):
        return ""
    now = Written.of(path, written.name)
    if now.sha256 == written.sha256:
        ledger.touched(entry.case, now.modified_ns)
        return ""
    if is_whole(path):
        return "its file was edited after it was written; it is left as it is"
    ledger.wait(entry.case)
    return "its file is damaged; it is done again"


def _has_header(path: Path) -> bool:
    """Whether the file begins as it should; cheap, for thousands of files."""
    with path.open("rb") as file:
        head = file.read(2)
    return len(head) == 2 and (head == b"\x1f\x8b" or not path.name.endswith(".gz"))
