"""The files beside a mask: where they lie, and how they are written."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.batch.task import Outcome
from medseg.config import Measure
from medseg.names import safe_name
from medseg.volume import Origin
from medseg.writers.atomic import atomic_path

if TYPE_CHECKING:
    from medseg.batch.thumbnail import Depiction
    from medseg.inference import Segmentation

PICTURES, LOGS, PROBABILITIES, REGISTRATION = "pictures", "logs", "probabilities", "registration"

#: Folder of the maps of uncertainty, each measure in one of its own.
UNCERTAINTY = "uncertainty"


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


def write_maps(result: Segmentation, output: Path, case: str, origin: Origin) -> None:
    """Write the probabilities and maps of uncertainty that wait on disk, and let that go."""
    probabilities = () if result.probabilities is None else (result.probabilities,)
    with ExitStack() as stack:
        for waiting in (*probabilities, *result.uncertainty):
            stack.callback(waiting.close)
        if result.probabilities is not None:
            result.probabilities.write(output / PROBABILITIES, case, origin)
        for uncertainty in result.uncertainty:
            uncertainty.write(output / UNCERTAINTY, case, origin)


def write_pictures(drawn: Depiction, output: Path, case: str) -> None:
    """Write a case's pictures."""
    contents = (drawn.planes, drawn.slices.scan, drawn.slices.labels)
    for name, content in zip(picture_names(case), contents, strict=True):
        with atomic_path(output / name) as temporary:
            temporary.write_bytes(content)


def write_moves(output: Path, case: str, origin: Origin) -> None:
    """Write the transform of each channel that was registered."""
    if not origin.moves:
        return
    from medseg.writers import move

    for name, matrix in origin.moves:
        move.write_move(matrix, output / REGISTRATION / f"{case}_{safe_name(name)}{move.ENDING}")


def write_log(output: Path, outcome: Outcome, foreseen: str, trace: str) -> None:
    """Write what happened to a case: its state, warnings, flags, memory and times."""
    lines = [f"state: {outcome.state}"]
    if outcome.reason:
        lines.append(f"reason: {outcome.reason}")
    lines += [f"warning: {warning}" for warning in outcome.warnings]
    lines += [f"flag: {flag.kind} {flag.label}: {flag.text}" for flag in outcome.flags]
    if foreseen:
        lines.append(f"memory: {foreseen}")
    lines += [f"{stage}: {seconds:.3f} s" for stage, seconds in outcome.stage_seconds.items()]
    lines += [f"segment, {part}: {s:.3f} s" for part, s in outcome.segment_seconds.items()]
    path = output / LOGS / f"{outcome.case}.log"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([*lines, trace]).rstrip() + "\n", encoding="utf-8")
