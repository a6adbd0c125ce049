"""Training, segmentation and whole runs on a CUDA device, beside nnU-Net and MONAI.

    python benchmarks/bench_gpu.py --output FOLDER [--data DATA] [--python RIVALS/bin/python]
    python benchmarks/bench_gpu.py --output FOLDER --only machine steps ct-25

Every part runs in a process of its own with a time limit; each row is in ``FOLDER/PART.json`` as
soon as it is measured, and in the table ``FOLDER/results.md`` when its part is over, so that a run
cut short keeps what it has. DATA holds ``hippocampus/`` (``images/`` and ``labels/`` of Task04 of
the Medical Segmentation Decathlon); parts whose data is absent say so. ``--python`` is an
environment with nnunetv2, by default this one; without it nnU-Net's rows say so too.

Steps are those of ``medseg train``: patches cut, augmented, through the network, loss, optimiser
and averages, timed after the first ten. nnU-Net's are its trainer's ``train_step`` on patches
that wait on the device, without cutting or augmenting. File to file is the whole command.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FEATURES = (32, 64, 128, 256, 320, 320)
PATCH, BATCH = (128, 128, 128), 2

Row = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """What was asked for.

    Attributes:
        output: where results and work files go.
        data: folder of cohorts, if any.
        python: of the environment with nnunetv2.
        device: cuda, or cpu for a trial of this script.
        minutes: of training in whole runs.
    """

    output: Path
    data: Path | None
    python: Path
    device: str
    minutes: float

    @property
    def work(self) -> Path:
        """For what a part leaves."""
        folder = self.output / "work"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def machine(asked: Asked) -> Iterator[Row]:
    """Device, versions, and how fast it copies and multiplies."""
    import torch

    facts: Row = {"python": platform.python_version(), "torch": torch.__version__}
    if asked.device != "cuda":
        yield facts
        return
    name = torch.cuda.get_device_properties(0)
    block = torch.randn(1 << 28, device="cuda")
    square = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    copied = seconds_of(lambda: block.clone())
    multiplied = seconds_of(lambda: square @ square)
    yield facts | {
        "device": name.name,
        "memory_gb": round(name.total_memory / 1e9, 1),
        "cuda": torch.version.cuda,
        "copy_tb_a_second": round(2 * 4 * block.numel() / copied / 1e12, 2),
        "bf16_tflops": round(2 * 8192**3 / multiplied / 1e12),
    }


def seconds_of(work: Callable[[], object], times: int = 10) -> float:
    """Mean time of some work on the device."""
    import torch

    for _ in range(3):
        work()
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(times):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - began) / times


def steps(asked: Asked) -> Iterator[Row]:
    """Training steps a second, 128³ x 2, 32…320 features, 16 bits; ours and nnU-Net's."""
    from rivals.gpu_steps import medseg_steps

    for changes, theirs in (
        (["training.layout=channels_last"], "0"),
        (["training.layout=channels_first"], None),
        (["training.layout=channels_last", "training.precision=float16"], None),
        (["training.layout=channels_first", "training.precision=float16"], None),
        (["training.compile=true"], "1"),
        (["training.compile=true", "training.layout=channels_first"], None),
    ):
        place = asked.work / "steps"
        yield medseg_steps(place, asked.device, PATCH, BATCH, FEATURES, changes)
        if theirs is not None:
            yield nnunet_steps(asked, {"nnUNet_compile": theirs})


def nnunet_steps(asked: Asked, environment: Mapping[str, str]) -> Row:
    """The rival's row."""
    call = [str(asked.python), str(HERE / "rivals" / "nnunet_step.py"), "--device", asked.device]
    call += ["--patch", *map(str, PATCH), "--batch", str(BATCH)]
    call += ["--features", *map(str, FEATURES)]
    row: Row = {"tool": "nnU-Net", **environment}
    done = subprocess.run(
        call, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        return row | {"failed": f"exit code {done.returncode}"}
    return row | json.loads(done.stdout.strip().splitlines()[-1])


def hippocampus(asked: Asked) -> Iterator[Row]:
    """Minutes of training, the test rows segmented and scored; time waiting for data."""
    from rivals.gpu_steps import trained_cohort

    root = asked.data / "hippocampus" if asked.data else Path("absent")
    if not root.is_dir():
        yield {"failed": "no folder hippocampus in --data"}
        return
    card = ROOT / "data_manifests" / "hippocampus.yaml"
    yield trained_cohort(
        asked.work / "hippocampus", card, root, asked.device, minutes=asked.minutes
    )


def large(asked: Asked, classes: int) -> Iterator[Row]:
    """A CT of 512 x 512 x 300 voxels, file to file, on a working grid of 1.5 mm."""
    yield from inference(
        asked,
        "large",
        "--classes",
        str(classes),
        "--spacing",
        "1.5",
        "--batch",
        "4",
        "--features",
        "32",
        "64",
        "128",
        "256",
        "320",
        "--window",
        "128",
        "128",
        "128",
        "--overlap",
        "0.5",
    )


def many(asked: Asked) -> Iterator[Row]:
    """200 small scans by one command."""
    root = asked.data / "hippocampus" if asked.data else Path("absent")
    if not root.is_dir():
        yield {"failed": "no folder hippocampus in --data"}
        return
    yield from inference(asked, "folder", "--root", str(root), "--count", "200", "--batch", "16")


def inference(asked: Asked, *words: str) -> Iterator[Row]:
    """Rows of ``bench_rival_inference.py`` with these words, as each tool is through."""
    results = asked.work / f"{'-'.join(words[:3])}.jsonl"
    results.unlink(missing_ok=True)
    call = [
        sys.executable,
        str(HERE / "bench_rival_inference.py"),
        *words,
        "--device",
        asked.device,
        "--python",
        str(asked.python),
        "--results",
        str(results),
        "--work",
        str(asked.work / "inference"),
        "--threads",
        "8",
        "--workers",
        "4",
        "4",
    ]
    process = subprocess.Popen(call)
    seen = 0
    while True:
        code = process.poll()
        rows = results.read_text().splitlines() if results.exists() else []
        for line in rows[seen:]:
            row = json.loads(line)
            yield {key: row[key] for key in _KEPT if row.get(key) not in (None, {})}
        seen = len(rows)
        if code is not None:
            break
        time.sleep(0.5)
    if code:
        yield {"failed": f"exit code {code}"}


#: Of a row of ``bench_rival_inference.py``.
_KEPT = (
    "tool",
    "masks",
    "failed",
    "seconds",
    "network_seconds",
    "outside",
    "before_seconds",
    "after_seconds",
    "windows",
    "device_mb",
    "own_mb",
    "agree",
    "worst_case",
    "dice",
)

#: Name: (seconds at most, what runs).
PARTS: dict[str, tuple[int, Callable[[Asked], Iterator[Row]]]] = {
    "machine": (60, machine),
    "steps": (200, steps),
    "hippocampus": (280, hippocampus),
    "ct-25": (150, lambda asked: large(asked, 25)),
    "ct-105": (180, lambda asked: large(asked, 105)),
    "many": (120, many),
}


def run_part(name: str, asked: Asked) -> None:
    """One part in this process."""
    rows: list[Row] = []
    began = time.monotonic()
    for row in PARTS[name][1](asked):
        rows.append(row)
        (asked.output / f"{name}.json").write_text(json.dumps(rows, indent=1))
        print(f"{time.monotonic() - began:.0f} s: {row}", flush=True)


def run_all(names: list[str], words: list[str], output: Path) -> bool:
    """Each part in its process; whether all ended well."""
    well = True
    for name in names:
        limit = PARTS[name][0]
        result, log = output / f"{name}.json", output / f"{name}.log"
        result.unlink(missing_ok=True)
        began = time.monotonic()
        call = [sys.executable, str(Path(__file__).resolve()), "--part", name, *words]
        with log.open("w") as file:
            process = subprocess.Popen(
                call, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
            reason = ending(process, limit)
        if reason:
            rows = json.loads(result.read_text()) if result.exists() else []
            result.write_text(json.dumps([*rows, {"failed": f"{reason}: {last_line(log)}"}]))
        well = well and not reason
        print(f"{name}: {time.monotonic() - began:.0f} s {reason}", flush=True)
        (output / "results.md").write_text(table(output), encoding="utf-8")
    return well


def ending(process: subprocess.Popen[bytes], limit: int) -> str:
    """Wait for a part, and end it with all it began where it is too slow; why it failed, if so."""
    try:
        code = process.wait(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"longer than its limit of {limit} s"
    return f"exit code {code}" if code else ""


def last_line(log: Path) -> str:
    """What a part said last."""
    return (log.read_text(errors="replace").strip().splitlines() or [""])[-1]


def table(output: Path) -> str:
    """All rows so far, one table a part."""
    text = []
    for name in PARTS:
        path = output / f"{name}.json"
        if not path.exists():
            continue
        rows = json.loads(path.read_text())
        columns = list(dict.fromkeys(key for row in rows for key in row))
        text += [f"\n## {name}\n", "| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
        text += ["| " + " | ".join(str(row.get(key, "")) for key in columns) + " |" for row in rows]
    return "\n".join(text) + "\n"


def main() -> None:
    """All parts, or those named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--minutes", type=float, default=2.8, help="of training in whole runs")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    output = chosen.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    asked = Asked(
        output, chosen.data and chosen.data.resolve(), chosen.python, chosen.device, chosen.minutes
    )
    if chosen.part:
        run_part(chosen.part, asked)
        return
    words = ["--output", str(output), "--device", chosen.device, "--python", str(chosen.python)]
    words += ["--minutes", str(chosen.minutes)]
    words += ["--data", str(asked.data)] if asked.data else []
    well = run_all(chosen.only, words, output)
    print((output / "results.md").read_text())
    raise SystemExit(0 if well else 1)


if __name__ == "__main__":
    main()
