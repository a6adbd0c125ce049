"""Training, segmentation and whole runs on a CUDA device, beside nnU-Net and MONAI.

    python benchmarks/bench_gpu.py --output FOLDER [--data DATA] [--python RIVALS/bin/python]
    python benchmarks/bench_gpu.py --output FOLDER --only machine steps ct-25

Every part runs in a process of its own with a time limit; its rows are in ``FOLDER/PART.json`` and
in the table ``FOLDER/results.md`` as soon as it is over, so that a run cut short keeps what it
has. DATA holds ``hippocampus/`` (``images/`` and ``labels/`` of Task04 of the Medical Segmentation
Decathlon); parts whose data is absent say so. ``--python`` is an environment with nnunetv2, by
default this one; without it nnU-Net's rows say so too.

Steps are those of ``medseg train``: patches cut, augmented, through the network, loss and
optimiser, timed from the tenth to the last. nnU-Net's are its trainer's ``train_step`` on patches
that wait on the device, without cutting or augmenting. File to file is the whole command.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
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


def machine(asked: Asked) -> list[Row]:
    """Device, versions, and how fast it copies and multiplies."""
    import platform

    import torch

    facts: Row = {"python": platform.python_version(), "torch": torch.__version__}
    if asked.device != "cuda":
        return [facts]
    name = torch.cuda.get_device_properties(0)
    block = torch.randn(1 << 28, device="cuda")
    square = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    copied = seconds_of(lambda: block.clone())
    multiplied = seconds_of(lambda: square @ square)
    return [
        facts
        | {
            "device": name.name,
            "memory_gb": round(name.total_memory / 1e9, 1),
            "cuda": torch.version.cuda,
            "copy_tb_a_second": round(2 * 4 * block.numel() / copied / 1e12, 2),
            "bf16_tflops": round(2 * 8192**3 / multiplied / 1e12),
        }
    ]


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


def steps(asked: Asked) -> list[Row]:
    """Training steps a second, 128³ x 2, 32…320 features, bfloat16; ours and nnU-Net's."""
    from rivals.gpu_steps import medseg_steps

    rows = []
    for compiled in (False, True):
        changes = {"training.compile": compiled}
        rows.append(medseg_steps(asked.work, asked.device, PATCH, BATCH, FEATURES, changes))
    rows.append(nnunet_steps(asked, {}))
    rows.append(nnunet_steps(asked, {"nnUNet_compile": "0"}))
    return rows


def nnunet_steps(asked: Asked, environment: Mapping[str, str]) -> Row:
    """The rival's row."""
    import os

    call = [str(asked.python), str(HERE / "rivals" / "nnunet_step.py"), "--device", asked.device]
    call += ["--patch", *map(str, PATCH), "--batch", str(BATCH)]
    call += ["--features", *map(str, FEATURES)]
    row: Row = {"tool": "nnU-Net", **environment}
    done = subprocess.run(
        call, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        return row | {"failed": (done.stderr.strip().splitlines() or ["no output"])[-1]}
    return row | json.loads(done.stdout.strip().splitlines()[-1])


def hippocampus(asked: Asked) -> list[Row]:
    """Minutes of training, the test rows segmented and scored; time waiting for data."""
    from rivals.gpu_steps import trained_cohort

    root = asked.data / "hippocampus" if asked.data else Path("absent")
    if not root.is_dir():
        return [{"failed": "no folder hippocampus in --data"}]
    card = ROOT / "data_manifests" / "hippocampus.yaml"
    return trained_cohort(
        asked.work / "hippocampus", card, root, asked.device, minutes=asked.minutes
    )


def large(asked: Asked, classes: int) -> list[Row]:
    """A CT of 512 x 512 x 300 voxels, file to file, on a working grid of 1.5 mm."""
    return inference(
        asked, "large", "--classes", str(classes), "--spacing", "1.5", "--batch", "4",
        "--features", "32", "64", "128", "256", "320", "--window", "128", "128", "128",
        "--overlap", "0.5",
    )  # fmt: skip


def many(asked: Asked) -> list[Row]:
    """200 small scans by one command."""
    root = asked.data / "hippocampus" if asked.data else Path("absent")
    if not root.is_dir():
        return [{"failed": "no folder hippocampus in --data"}]
    return inference(asked, "folder", "--root", str(root), "--count", "200", "--batch", "16")


def inference(asked: Asked, *words: str) -> list[Row]:
    """Rows of ``bench_rival_inference.py`` with these words."""
    results = asked.work / f"{words[0]}-{words[2]}.jsonl"
    results.unlink(missing_ok=True)
    call = [sys.executable, str(HERE / "bench_rival_inference.py"), *words,
            "--device", asked.device, "--python", str(asked.python), "--results", str(results),
            "--work", str(asked.work / "inference"), "--threads", "8",
            "--workers", "4", "4"]  # fmt: skip
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    rows = (
        [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    )
    keys = ("tool", "masks", "failed", "seconds", "network_seconds", "outside", "device_mb",
            "own_mb", "agree", "dice", "windows")  # fmt: skip
    kept = [{key: row[key] for key in keys if row.get(key) not in (None, {})} for row in rows]
    if done.returncode:
        kept.append({"failed": (done.stderr.strip().splitlines() or ["no output"])[-1]})
    return kept


#: Name: (seconds at most, what runs).
PARTS: dict[str, tuple[int, Callable[[Asked], list[Row]]]] = {
    "machine": (60, machine),
    "steps": (200, steps),
    "hippocampus": (280, hippocampus),
    "ct-25": (150, lambda asked: large(asked, 25)),
    "ct-105": (180, lambda asked: large(asked, 105)),
    "many": (120, many),
}


def run_part(name: str, asked: Asked) -> None:
    """One part in this process."""
    (asked.output / f"{name}.json").write_text(json.dumps(PARTS[name][1](asked), indent=1))


def run_all(names: list[str], words: list[str], output: Path) -> bool:
    """Each part in its process; whether all ended well."""
    well = True
    for name in names:
        limit = PARTS[name][0]
        result = output / f"{name}.json"
        result.unlink(missing_ok=True)
        began = time.monotonic()
        call = [sys.executable, str(Path(__file__).resolve()), "--part", name, *words]
        log = output / f"{name}.log"
        try:
            with log.open("w") as file:
                code = subprocess.run(
                    call, stdout=file, stderr=subprocess.STDOUT, timeout=limit, check=False
                ).returncode
            reason = f"exit code {code}, see {log.name}: {last_line(log)}" if code else ""
        except subprocess.TimeoutExpired:
            reason = f"longer than its limit of {limit} s"
        if reason and not result.exists():
            result.write_text(json.dumps([{"failed": reason}]))
        well = well and not reason
        print(f"{name}: {time.monotonic() - began:.0f} s {reason}", flush=True)
        (output / "results.md").write_text(table(output), encoding="utf-8")
    return well


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
