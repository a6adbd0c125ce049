"""One case goes from its file to its mask, whatever happens on the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from medseg.batch.companions import write_log, write_maps, write_moves, write_pictures
from medseg.batch.isolation import guarded, relative
from medseg.batch.task import Flag, Forecast, Outcome, Stage, State, Task, Written
from medseg.batch.trial import Trial
from medseg.batch.work import Loaded, Tell
from medseg.volume import LabelMap, Volume
from medseg.writers import check_source, write_labels
from medseg.writers.layout import Layout, mask_name, write_single_labels

if TYPE_CHECKING:
    from medseg.batch.thumbnail import Depiction
    from medseg.inference import Segmentation
    from medseg.inference.budget import Budget

#: Cases side by side: one reading, one in the network, one writing.
DEPTH = 3


class Segment(Protocol):
    """Segments a scan; says what it will take before the first window."""

    def __call__(
        self, take: Callable[[], Volume], /, *, tell: Callable[[Budget], object] | None = None
    ) -> Segmentation:
        """The mask and what goes with it; whoever gives the scan no longer holds it."""


class Segmenter(Protocol):
    """How to get a segment function; travels to the worker, which loads the model once."""

    def load(self) -> Segment:
        """Load the model onto its device."""


class Inspector(Protocol):
    """Finds reasons to look at a mask; travels to the worker."""

    def __call__(self, volume: Volume) -> Callable[[Segmentation], tuple[Flag, ...]]:
        """Look at a scan; then, without it, at its mask."""


@dataclass(frozen=True)
class Job:
    """What a worker needs besides the cases.

    Attributes:
        segmenter: loads the model.
        output: the output folder, seen under this path by every worker.
        format: of the masks.
        layout: of the output folder.
        one_file_per_label: write those, too.
        inspect: quality flags, or ``None``.
        depict: scan to (mask to pictures for the page), or ``None``; what it returns must not
            hold the scan whole.
        trial: a window to time before the first case, or ``None``.
    """

    segmenter: Segmenter
    output: Path
    format: str = "nifti"
    layout: Layout = Layout.FLAT
    one_file_per_label: bool = False
    inspect: Inspector | None = None
    depict: Callable[[Volume], Callable[[LabelMap], Depiction]] | None = None
    trial: Trial | None = None

    @property
    def threads(self) -> int:
        """While one case is in the network, the next is read and the last written."""
        return DEPTH

    def load(self) -> Loaded:
        """The model on its device, timed where there is a trial."""
        segment, device = self.segmenter.load(), threading.Lock()

        def run(task: Task, tell: Tell) -> Outcome:
            return run_case(task, self, segment, device, tell)

        return Loaded(run, self.trial.seconds(segment) if self.trial else None)


def run_case(task: Task, job: Job, segment: Segment, device: threading.Lock, tell: Tell) -> Outcome:
    """Read, segment, write; never raises.

    Several threads run this side by side: the device belongs to one of them at a time, while
    others read ahead and write behind.

    Args:
        task: the case.
        job: where the mask goes, and how.
        segment: the loaded model.
        device: held while `segment` runs.
        tell: called with each stage, and with the memory that segmenting will take.
    """
    clock = Clock(task.case, tell)
    foreseen = ""

    def foresee(budget: Budget) -> None:
        nonlocal foreseen
        foreseen = budget.describe()
        tell(Forecast(task.case, budget.host_bytes, foreseen))

    def road() -> Outcome:
        clock.enter("read")
        scan = _Scan(task.scan.read(), job)
        clock.enter("wait")
        with device:
            clock.enter("segment")
            result = segment(scan.take, tell=foresee)
        clock.enter("write")
        return _written(task, job, scan, result)

    outcome, trace = guarded(task, road)
    clock.enter("end")
    outcome = replace(outcome, stage_seconds=clock.seconds)
    with suppress(OSError):
        write_log(job.output, outcome, foreseen, trace)
    return outcome


class Clock:
    """Wall time of the stages of one case."""

    def __init__(self, case: str, tell: Tell) -> None:
        self.seconds: dict[str, float] = {}
        self._case, self._tell = case, tell
        self._stage, self._since = "", time.monotonic()

    def enter(self, stage: str) -> None:
        """The stage before has ended, and this one begins; ``end`` after the last."""
        now = time.monotonic()
        if self._stage:
            self.seconds[self._stage] = now - self._since
        self._stage, self._since = stage, now
        if stage != "end":
            self._tell(Stage(self._case, stage))


class _Scan:
    """A scan that is freed once segmented, and what is remembered of it."""

    def __init__(self, volume: Volume, job: Job) -> None:
        check_source(volume.geometry, volume.origin, format=job.format)
        self.origin = volume.origin
        self.inspect = job.inspect(volume) if job.inspect else lambda result: ()
        self.depict = job.depict(volume) if job.depict else None
        self._held = [volume]

    def take(self) -> Volume:
        """The scan, once."""
        return self._held.pop()


def _written(task: Task, job: Job, scan: _Scan, result: Segmentation) -> Outcome:
    name = mask_name(task.case, format=job.format, layout=job.layout)
    write_maps(result, job.output, task.case, scan.origin)  # first: where the mask is, all is
    write_moves(job.output, task.case, scan.origin)
    with ThreadPoolExecutor(2) as beside:  # a large mask keeps each of them busy for a second
        flags = beside.submit(scan.inspect, result)
        picture = beside.submit(scan.depict, result.labelmap) if scan.depict else None
        if job.one_file_per_label:
            write_single_labels(
                result.labelmap, job.output, task.case, format=job.format, layout=job.layout
            )
        remarks = write_labels(result.labelmap, job.output / name, format=job.format)
        written = Written.of(job.output / name, name)
    if picture is not None:
        write_pictures(picture.result(), job.output, task.case)
    warnings = dict.fromkeys((*task.warnings, *scan.origin.warnings, *result.warnings, *remarks))
    return Outcome(
        task.case,
        State.DONE,
        warnings=tuple(relative(warning, task) for warning in warnings),
        flags=flags.result(),
        volumes_ml=dict(result.volumes_ml),
        confidence=dict(result.confidence),
        segment_seconds=dict(result.seconds),
        written=written,
    )
