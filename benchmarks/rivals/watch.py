"""What a command takes from start to end: time, memory, time inside the network."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CLOCK = Path(__file__).resolve().parent / "clock"
#: Time between looks at memory, and how much longer than a look itself: reading what processes
#: share walks their page tables, which must not take time from what is measured.
_LOOK_S, _LOOK_SHARE = 0.2, 30

#: glibc keeps big blocks instead of giving them back: what medseg sets for itself.
TUNED = {
    "MALLOC_MMAP_THRESHOLD_": str(4 * 1024**3),
    "MALLOC_TRIM_THRESHOLD_": str(32 * 1024**3),
    "MALLOC_TOP_PAD_": str(256 * 1024**2),
    "OMP_WAIT_POLICY": "passive",
}


@dataclass(frozen=True)
class Pass:
    """One call of a network."""

    process: int
    begin: float
    end: float
    windows: int


@dataclass(frozen=True)
class Watched:
    """What one command took.

    Attributes:
        code: exit status; ``None`` where it was ended for its memory.
        seconds: wall time from start to end.
        cpu_seconds: of the command and all it waited for.
        resident_mb: highest sum of resident memory over its processes.
        own_mb: the same, memory that processes share counted once.
        high_mb: the kernel's high-water marks of its processes added up, however short they were
            and although not all at one time: never less than the peak of the tree.
        begun, ended: on the monotonic clock.
        passes: calls of the network in the process that asked most; of other processes none.
        device_mb: the most that torch held on a CUDA device, over all processes.
        said: the last lines of its output.
    """

    code: int | None
    seconds: float
    cpu_seconds: float
    resident_mb: float
    own_mb: float
    high_mb: float
    begun: float
    ended: float
    passes: tuple[Pass, ...]
    device_mb: float
    said: str

    @property
    def network_seconds(self) -> float:
        """Time inside the network."""
        return sum(p.end - p.begin for p in self.passes)

    @property
    def windows(self) -> int:
        """How many windows the network was asked about."""
        return sum(p.windows for p in self.passes)


def watched(
    command: Sequence[str], environment: Mapping[str, str], *, limit_mb: float | None = None
) -> Watched:
    """Run a command beside nothing else and look at all its processes now and then.

    Args:
        command: to run.
        environment: set over this process's own.
        limit_mb: end the command when its processes hold more.
    """
    with tempfile.TemporaryDirectory() as place:
        output = Path(place) / "output"
        passes = Path(place) / "passes"
        passes.mkdir()
        added = {"RIVAL_CLOCK": str(passes), "PYTHONPATH": _path_with_clock()}
        begun, before = time.monotonic(), os.times()
        with output.open("wb") as file:
            process = subprocess.Popen(
                list(command),
                env={**os.environ, **environment, **added},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
            resident, own, high, over = _look_until_end(process, limit_mb)
        ended, after = time.monotonic(), os.times()
        said = output.read_text(errors="replace").strip().splitlines()[-12:]
        return Watched(
            None if over else process.returncode,
            ended - begun,
            sum(after[2:4]) - sum(before[2:4]),
            resident,
            own,
            high,
            begun,
            ended,
            _busiest(passes),
            _device_mb(passes),
            "\n".join(said),
        )


def available_mb() -> float:
    """Memory that the machine could give now."""
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    return int(text.split("MemAvailable:")[1].split()[0]) * 1024 / 1e6


def _look_until_end(
    process: subprocess.Popen[bytes], limit_mb: float | None
) -> tuple[float, float, float, bool]:
    resident = own = 0.0
    high: dict[int, float] = {}
    while process.poll() is None:
        look = time.monotonic()
        members = tree(process.pid)
        resident = max(resident, sum(_resident_mb(pid) for pid in members))
        own = max(own, sum(_own_mb(pid) for pid in members))
        high |= {pid: _high_mb(pid) or high.get(pid, 0.0) for pid in members}
        if limit_mb is not None and own > limit_mb:
            for pid in reversed(members):
                _kill(pid)
            process.wait()
            return resident, own, sum(high.values()), True
        time.sleep(max(_LOOK_S, _LOOK_SHARE * (time.monotonic() - look)))
    return resident, own, sum(high.values()), False


def tree(root: int) -> list[int]:
    """A process and all that descend from it."""
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        try:
            for thread in Path(f"/proc/{pid}/task").iterdir():
                waiting += [int(child) for child in (thread / "children").read_text().split()]
        except (OSError, ValueError):
            continue
    return found


def _resident_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6
    except (OSError, IndexError):
        return 0.0


def _high_mb(pid: int) -> float:
    """What the kernel says was the most that a process held."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        return int(text.split("\nVmHWM:")[1].split()[0]) * 1024 / 1e6
    except (OSError, IndexError):
        return 0.0


def _own_mb(pid: int) -> float:
    """Proportional share: a page that n processes map counts 1/n in each."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        return int(text.split("\nPss:")[1].split()[0]) * 1024 / 1e6
    except (OSError, IndexError):
        return 0.0


def _kill(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return


def _path_with_clock() -> str:
    before = os.environ.get("PYTHONPATH")
    return f"{_CLOCK}{os.pathsep}{before}" if before else str(_CLOCK)


def _busiest(folder: Path) -> tuple[Pass, ...]:
    """The passes of the process with most windows; another only tried one, to tell the time."""
    found = []
    for path in folder.glob("*.jsonl"):
        lines = _lines(path)
        found.append(
            tuple(
                Pass(int(path.stem), begin, end, windows)
                for begin, end, windows, measuring in (
                    row for row in lines if isinstance(row, list)
                )
                if not measuring
            )
        )
    return max(found, key=lambda passes: sum(p.windows for p in passes), default=())


def _device_mb(folder: Path) -> float:
    """Of each process the most, of all processes the sum."""
    return sum(
        max((row["device_mb"] for row in _lines(path) if isinstance(row, dict)), default=0.0)
        for path in folder.glob("*.jsonl")
    )


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]
