"""Memory and use of the network over thousands of small cases.

    python benchmarks/batch_many.py MODEL IMAGES --cases 2000

Copies the NIfTI files of IMAGES under new names until there are enough, segments them with
``medseg segment`` and prints the memory of its process tree over time, then the share of the
wall time that the network takes: the device's stages from the run itself, the network's part of
a stage from a profile of some of the cases.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from medseg.batch.models import ModelSegmenter
from medseg.scans import read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--profile", type=int, default=40)
    parser.add_argument("--minutes", type=float, default=120, help="interrupt the batch then")
    chosen = parser.parse_args()
    images = sorted(chosen.images.glob("*.nii.gz"))
    share = network_share(chosen.model, images[: chosen.profile])
    with tempfile.TemporaryDirectory() as place:
        scans, output = Path(place) / "scans", Path(place) / "masks"
        scans.mkdir()
        for number in range(chosen.cases):
            image = images[number % len(images)]
            shutil.copyfile(image, scans / f"{number:05}_{image.name}")
        memory, end = segment(chosen.model, scans, output, chosen.minutes)
    print("minutes  resident MB of the process tree")
    for seconds, megabytes in memory[:: max(1, len(memory) // 20)]:
        print(f"{seconds / 60:7.1f}  {megabytes:6.0f}")
    middle = [mb for _, mb in memory[len(memory) // 4 : len(memory) // 2]]
    late = [mb for _, mb in memory[3 * len(memory) // 4 :]]
    growth = sum(late) / len(late) - sum(middle) / len(middle)
    print(f"second quarter to last quarter: {growth:+.0f} MB")
    wall, cases = end["seconds"], int(end["finished"])
    device = end["segment_seconds"] / wall
    print(f"{cases} cases in {wall:.0f} s: {cases / wall * 60:.0f} a minute")
    print(
        f"device stage {device:.1%} of the wall time; network {share:.1%} of that stage; "
        f"outside the network {1 - device * share:.1%} of the wall time"
    )


def network_share(model: Path, images: list[Path]) -> float:
    """Share of the device's stage that the networks themselves take."""
    segmenter = ModelSegmenter((model,), "cpu").load()
    spent = [0.0, 0.0]
    for network in segmenter._networks:
        network.register_forward_pre_hook(lambda *_: spent.__setitem__(1, time.perf_counter()))
        network.register_forward_hook(
            lambda *_: spent.__setitem__(0, spent[0] + time.perf_counter() - spent[1])
        )
    scans = [read(image) for image in images]
    segmenter(scans[0])
    spent[0], started = 0.0, time.perf_counter()
    for scan in scans:
        segmenter(scan)
    return spent[0] / (time.perf_counter() - started)


def segment(
    model: Path, scans: Path, output: Path, minutes: float
) -> tuple[list[tuple[float, float]], dict[str, float]]:
    """Memory over time from the first case on, and what the run says at its end."""
    call = [
        sys.executable,
        "-m",
        "medseg",
        "segment",
        str(model),
        str(scans),
        "--output",
        str(output),
        "--device",
        "cpu",
        "--json",
    ]
    process = subprocess.Popen(call, stdout=subprocess.PIPE, text=True)
    memory: list[tuple[float, float]] = []
    first, end = 0.0, {}
    for line in process.stdout or ():
        event = json.loads(line)
        if event.get("task") == "segmenting":
            now = time.monotonic()
            first = first or now
            if not memory or now - first > memory[-1][0] + 2:
                memory.append((now - first, tree_megabytes(process.pid)))
            if now - first > minutes * 60 and end == {}:
                process.send_signal(signal.SIGINT)
                end = {"asked": now}
        elif "segment_seconds" in event:
            end = event
    if process.wait() not in (0, 130):
        raise SystemExit(f"medseg segment ended with {process.returncode}")
    return memory, end


def tree_megabytes(root: int) -> float:
    """Resident memory of a process and its children, what they share counted once a process."""
    waiting, total = [root], 0.0
    while waiting:
        process = Path(f"/proc/{waiting.pop()}")
        try:
            total += int((process / "statm").read_text().split()[1]) * 4096 / 1e6
            for thread in (process / "task").iterdir():
                waiting += [int(child) for child in (thread / "children").read_text().split()]
        except (OSError, ValueError):
            continue
    return total


if __name__ == "__main__":
    main()
