"""The outcome of a case that ends in an error, whatever was raised."""

from __future__ import annotations

import errno
import re
import traceback
from collections.abc import Callable

from medseg.batch.task import PLACES, Outcome, State, Task
from medseg.errors import BadOutput, MedsegError, NotAVolume
from medseg.tables import printable

#: What the system says of one file: its name or its size is too much. The next may well fit.
OWN_FAULTS = frozenset(
    {errno.EFBIG, errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EINVAL, errno.EILSEQ}
)


#: The folders of an absolute path, which say where the user keeps things.
_FOLDERS = re.compile(r"(?<![\w.\\/:])/(?:[^\s/:;,'\"]+/)+")


def guarded(task: Task, road: Callable[[], Outcome]) -> tuple[Outcome, str]:
    """The outcome of a case, and the traceback of a bug.

    This is the one place where an unforeseen exception is caught.

    Args:
        task: the case.
        road: reads, works and writes.
    """
    try:
        return road(), ""
    except NotAVolume as error:
        return Outcome(task.case, State.SKIPPED, _reason(error, task)), ""
    except BadOutput as error:
        is_lost = _is_lost(error)
        state = State.PENDING if is_lost else State.FAILED
        return Outcome(task.case, state, _reason(error, task), output_lost=is_lost), ""
    except MedsegError as error:
        return Outcome(task.case, State.REFUSED, _reason(error, task)), ""
    except Exception as error:  # noqa: BLE001 - a bug costs its case, not the batch
        reason = f"{type(error).__name__}: {_reason(error, task)}"
        return Outcome(task.case, State.FAILED, reason), traceback.format_exc()


def relative(text: str, task: Task) -> str:
    """Paths as the user may show them: relative to the argument that was passed."""
    if PLACES in task.place:
        for place, source in zip(task.place.split(PLACES), task.source.split(", "), strict=False):
            text = text.replace(place, source)
    text = text.replace(task.place, task.source)
    if task.place.endswith(task.source) and (root := task.place[: -len(task.source)]):
        text = text.replace(root, "") if len(root) > 1 else text
    return text


def _is_lost(error: BadOutput) -> bool:
    """Whether the output folder is to blame (full, read-only, gone), not this case's name."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno not in OWN_FAULTS


def _reason(error: Exception, task: Task) -> str:
    text = relative(" ".join(str(error).split()) or "no message", task)
    return printable(_FOLDERS.sub("", text.removeprefix(f"{task.source}: ")))
