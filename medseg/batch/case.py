"""One case goes from its file to its mask, whatever happens on the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from medseg.batch.isolation import guarded, relative
from medseg.batch.task import Flag, Forecast, Outcome, Stage, State, Task, Written
from medseg.batch.trial import Trial
from medseg.batch.work import Loaded, Tell
from medseg.config import Measure
from medseg.names import safe_name
from medseg.volume import LabelMap, Origin, Volume
from medseg.writers import check_source, write_labels
from medseg.writers.atomic import atomic_path
from medseg.writers.layout import Layout, mask_name, write_single_labels

if TYPE_CHECKING:
    from medseg.batch.thumbnail import Depiction

#: Cases side by side: one reading, one in the network, one writing.
DEPTH = 3

PICTURES, LOGS, PROBABILITIES, REGISTRATION = "pictures", "logs", "probabilities", "registration"

#: Folder of the maps of uncertainty, each measure in one of its own.
UNCERTAINTY = "uncertainty"


class Kept(Protocol):
    """What waits on disk beside a mask, such as ``medseg.inference``'s ``Probabilities``."""

    def write(self, folder: Path, case: str, origin: Origin) -> object:
        """Write its files."""

    def close(self) -> None:
        """Let the disk space go."""


class Segmented(Protocol):
    """What segmenting one scan gives; ``medseg.inference.Segmentation`` is one."""

    @property
    def labelmap(self) -> LabelMap:
        """The mask on the scan's grid."""

    @property
    def volumes_ml(self) -> Mapping[str, float]:
        """Volume of each label."""

    @property
    def confidence(self) -> Mapping[str, float] | None:
        """0-1 for each label, or ``None`` where the network gives none."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know."""

    @property
    def seconds(self) -> Mapping[str, float]:
        """Wall time of the parts of segmenting."""

    @property
    def probabilities(self) -> Kept | None:
        """Of every label, where they are wanted."""

    @property
    def uncertainty(self) -> Sequence[Kept]:
        """Maps of it, where they are wanted."""


class Budget(Protocol):
    """Memory that a scan is going to take; ``medseg.inference.budget.Budget`` is one."""

    @property
    def host_bytes(self) -> int:
        """Predicted peak of all processes."""

    def describe(self) -> str:
        """The same for people."""


class Segment(Protocol):
    """Segments a scan; says what it will take before the first window."""

    def __call__(
        self, take: Callable[[], Volume], /, *, tell: Callable[[Budget], object] | None = None
    ) -> Segmented:
        """The mask and what goes with it; whoever gives the scan no longer holds it."""


class Segmenter(Protocol):
    """How to get a segment function; travels to the worker, which loads the model once."""

    def load(self) -> Segment:
        """Load the model onto its device."""


class Inspector(Protocol):
    """Finds reasons to look at a mask; travels to the worker."""

    def __call__(self, volume: Volume) -> Callable[[Segmented], tuple[Flag, ...]]:
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
        _log(job.output / LOGS / f"{task.case}.log", outcome, foreseen, trace)
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


def _written(task: Task, job: Job, scan: _Scan, result: Segmented) -> Outcome:
    name = mask_name(task.case, format=job.format, layout=job.layout)
    _write_kept(task, job, scan, result)  # first: where the mask is, all is
    _write_moves(task, job, scan)
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
        _write_pictures(picture.result(), job.output, task.case)
    warnings = dict.fromkeys((*task.warnings, *scan.origin.warnings, *result.warnings, *remarks))
    return Outcome(
        task.case,
        State.DONE,
        warnings=tuple(relative(warning, task) for warning in warnings),
        flags=flags.result(),
        volumes_ml=dict(result.volumes_ml),
        confidence=dict(result.confidence or {}),
        segment_seconds=dict(result.seconds),
        written=written,
    )


def _write_kept(task: Task, job: Job, scan: _Scan, result: Segmented) -> None:
    """Write what waits on disk."""
    probabilities = () if result.probabilities is None else (result.probabilities,)
    with ExitStack() as stack:
        for kept in (*probabilities, *result.uncertainty):
            stack.callback(kept.close)
        for kept in probabilities:
            kept.write(job.output / PROBABILITIES, task.case, scan.origin)
        for kept in result.uncertainty:
            kept.write(job.output / UNCERTAINTY, task.case, scan.origin)


def map_paths(output: Path, case: str, measures: Sequence[Measure]) -> list[Path]:
    """Where the maps of uncertainty of a case lie below the output."""
    return [output / UNCERTAINTY / measure / f"{case}.nii.gz" for measure in measures]


def picture_names(case: str) -> tuple[str, str, str]:
    """Files of a case's pictures below the output: planes, slices, and labels of the slices."""
    return (
        f"{PICTURES}/{case}.jpg",
        f"{PICTURES}/slices/{case}.jpg",
        f"{PICTURES}/slices/{case}.png",
    )


def _write_pictures(drawn: Depiction, output: Path, case: str) -> None:
    contents = (drawn.planes, drawn.slices.scan, drawn.slices.labels)
    for name, content in zip(picture_names(case), contents, strict=True):
        with atomic_path(output / name) as temporary:
            temporary.write_bytes(content)


def _write_moves(task: Task, job: Job, scan: _Scan) -> None:
    """The registration of each channel that was registered, beside the masks."""
    if not scan.origin.moves:
        return
    from medseg.writers import move

    for name, matrix in scan.origin.moves:
        file_name = f"{task.case}_{safe_name(name)}{move.ENDING}"
        move.write_move(matrix, job.output / REGISTRATION / file_name)


def _log(path: Path, outcome: Outcome, foreseen: str, trace: str) -> None:
    lines = [f"state: {outcome.state}"]
    if outcome.reason:
        lines.append(f"reason: {outcome.reason}")
    lines += [f"warning: {warning}" for warning in outcome.warnings]
    lines += [f"flag: {flag.kind} {flag.label}: {flag.text}" for flag in outcome.flags]
    if foreseen:
        lines.append(f"memory: {foreseen}")
    lines += [f"{stage}: {seconds:.3f} s" for stage, seconds in outcome.stage_seconds.items()]
    lines += [f"segment, {part}: {s:.3f} s" for part, s in outcome.segment_seconds.items()]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([*lines, trace]).rstrip() + "\n", encoding="utf-8")
