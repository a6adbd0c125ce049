"""What a batch will need of disk, memory and time, said before it starts."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.batch.case import DEPTH
from medseg.batch.entry import Entry
from medseg.batch.task import State, Task
from medseg.errors import BadOutput

#: Bytes of a compressed mask for each voxel, generously; organs take about a tenth of it.
MASK_BYTES_PER_VOXEL = 0.03
#: Picture, log and ledger of a case.
EXTRA_BYTES = 30_000
#: Voxels for each byte of an input whose shape is unknown before it is read (gzip of int16).
VOXELS_PER_BYTE = 1.0
#: A scan in memory while it is read, prepared or written, for each voxel and stage.
SCAN_BYTES_PER_VOXEL = 8
#: The same while it is read alone: its file's bytes beside its 16-bit voxels.
READ_BYTES_PER_VOXEL = 4


@dataclass(frozen=True)
class Estimate:
    """What the cases that are left will need.

    Attributes:
        cases: how many are left.
        disk_bytes: for masks, pictures and logs; `disk_free` is what there is.
        scans_bytes: memory for the scans under way, the network's own left out.
        beside_bytes: of it, for the scan that is read while another is in the network; what was
            read before is held already, and counted there.
        seconds: at the pace of cases done before; ``None`` where there were none.
    """

    cases: int
    disk_bytes: int
    disk_free: int
    scans_bytes: int
    beside_bytes: int
    seconds: float | None


def estimate(tasks: Sequence[Task], done: Sequence[Entry], folder: Path) -> Estimate:
    """Estimate what is left of a batch.

    Args:
        tasks: still to do.
        done: the ledger's entries; those done teach the pace by input size.
        folder: the output, which exists.
    """
    voxels = [voxels_of(task) for task in tasks]
    largest = sorted(voxels, reverse=True)[:DEPTH]
    return Estimate(
        cases=len(tasks),
        disk_bytes=int(sum(voxels) * MASK_BYTES_PER_VOXEL) + EXTRA_BYTES * len(tasks),
        disk_free=shutil.disk_usage(folder).free,
        scans_bytes=int(sum(largest) * SCAN_BYTES_PER_VOXEL),
        beside_bytes=int(sum(largest[1:2]) * READ_BYTES_PER_VOXEL),
        seconds=_seconds(tasks, done),
    )


def require_room(needed: Estimate, folder: Path) -> None:
    """Refuse to start a batch that would fill the disk.

    Raises:
        BadOutput: less is free than the masks will take.
    """
    if needed.disk_bytes > needed.disk_free:
        raise BadOutput(
            "the disk is too small for the masks",
            path=folder,
            found=f"{needed.disk_free / 1e9:.2f} GB free",
            expected=f"about {needed.disk_bytes / 1e9:.2f} GB for {needed.cases} cases",
            remedy="Make room, or choose another --output.",
        )


def voxels_of(task: Task) -> float:
    """Voxels of a scan, from its header where that was read, else from its size."""
    shape = getattr(task.scan, "shape", None)
    return math.prod(shape) if shape else task.size_bytes * VOXELS_PER_BYTE


def _seconds(tasks: Sequence[Task], done: Sequence[Entry]) -> float | None:
    """Time in the network by bytes of input, which the other stages hide behind."""
    known = [entry for entry in done if entry.state is State.DONE and entry.size_bytes]
    if not known:
        return None
    pace = sum(entry.segment_seconds for entry in known) / sum(e.size_bytes for e in known)
    return pace * sum(task.size_bytes for task in tasks)
