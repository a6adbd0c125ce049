"""Calls each tool, file in to file out, and says what its run took."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rivals.models import Twins
from rivals.watch import TUNED, Watched, watched

_HERE = Path(__file__).resolve().parent
#: What the script ``nnUNetv2_predict`` does; it need not be installed as a command.
_PREDICT = "from nnunetv2.inference.predict_from_raw_data import predict_entry_point as p; p()"


@dataclass(frozen=True)
class Ways:
    """How the tools are called.

    Attributes:
        python: of nnU-Net's environment.
        threads: of every tool.
        workers: nnU-Net's processes for reading and for writing; 0 does all in one.
        step: nnU-Net's step between windows, in windows: 1 - overlap.
        mirrors: average over all mirrors.
        limit_mb: a tool that holds more is ended.
        device: cpu or cuda, for all of them.
    """

    python: Path
    threads: int
    workers: tuple[int, int]
    step: float
    mirrors: bool
    limit_mb: float
    device: str = "cpu"


def run_medseg(twins: Twins, scans: list[str], output: Path, ways: Ways) -> dict[str, Any]:
    """``medseg segment``; `scans` are its words after the model.

    ``predicted_mb`` is the highest peak that it foretold, of all its processes.
    """
    call = [
        sys.executable,
        "-m",
        "medseg",
        "segment",
        str(twins.ours),
        *scans,
        "--output",
        str(output),
        "--device",
        ways.device,
    ]
    if not ways.mirrors:
        call += ["tta=none"]
    row = facts(watched(call, _threads(ways), limit_mb=ways.limit_mb), output, ways)
    logs = [path.read_text(encoding="utf-8") for path in output.glob("logs/*.log")]
    told = [float(gb) for log in logs for gb in re.findall(r"predicted peak ([0-9.]+) GB", log)]
    return row | {"predicted_mb": round(1000 * max(told))} if told else row


def run_nnunet(twins: Twins, images: Path, output: Path, ways: Ways) -> dict[str, Any]:
    """``nnUNetv2_predict``, with the allocator and the workers in its favour."""
    call = [
        str(ways.python),
        "-c",
        _PREDICT,
        "-i",
        str(images),
        "-o",
        str(output),
        "-d",
        "100",
        "-c",
        "3d_fullres",
        "-f",
        "0",
        "-device",
        ways.device,
        "-step_size",
        str(ways.step),
        "-npp",
        str(ways.workers[0]),
        "-nps",
        str(ways.workers[1]),
        "--disable_progress_bar",
    ]
    if not ways.mirrors:
        call.append("--disable_tta")
    output.mkdir(parents=True, exist_ok=True)
    environment = {
        **TUNED,
        **_threads(ways),
        "nnUNet_results": str(twins.theirs),
        "nnUNet_raw": "",
        "nnUNet_preprocessed": "",
        "nnUNet_def_n_proc": str(ways.threads),
    }
    return facts(watched(call, environment, limit_mb=ways.limit_mb), output, ways)


def run_monai(twins: Twins, scan: Path, output: Path, ways: Ways, *words: str) -> dict[str, Any]:
    """MONAI's usual chain on one file, with the allocator in its favour."""
    call = [
        sys.executable,
        str(_HERE / "monai_chain.py"),
        str(twins.ours),
        str(scan),
        str(output),
        "--device",
        ways.device,
        *words,
    ]
    environment = {**TUNED, **_threads(ways)}
    return facts(watched(call, environment, limit_mb=ways.limit_mb), output, ways)


def facts(run: Watched, output: Path, ways: Ways) -> dict[str, Any]:
    """One row: what the run took, and how much of it outside the network.

    ``outside`` is the share of the whole command; ``outside_warm`` that from the first window to
    the last mask, without start-up, first scan and what follows the last mask.
    """
    row: dict[str, Any] = {
        "code": run.code,
        "seconds": round(run.seconds, 2),
        "cpu_seconds": round(run.cpu_seconds, 2),
        "threads": ways.threads,
        "own_mb": round(run.own_mb),
        "resident_mb": round(run.resident_mb),
        "high_mb": round(run.high_mb),
        "network_seconds": round(run.network_seconds, 2),
        "windows": run.windows,
        "passes": len(run.passes),
        "device_mb": round(run.device_mb),
    }
    if run.code is None:
        row["failed"] = f"ended: its processes held more than {ways.limit_mb / 1000:.1f} GB"
    elif run.code != 0:
        row["failed"] = run.said.splitlines()[-1] if run.said else f"exit code {run.code}"
    written = [path.stat().st_mtime for path in output.glob("*.nii.gz")]
    if run.passes and written:
        first = min(p.begin for p in run.passes)
        last = max(written) - (time.time() - time.monotonic())
        row["outside"] = round(1 - run.network_seconds / run.seconds, 4)
        row["outside_warm"] = round(1 - run.network_seconds / (last - first), 4)
        row["before_seconds"] = round(first - run.begun, 2)
        row["after_seconds"] = round(run.ended - last, 2)
    return row


def _threads(ways: Ways) -> dict[str, str]:
    """The same threads for all; and compiled modules are kept, as on any user's machine."""
    named = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(named, str(ways.threads)) | {"PYTHONDONTWRITEBYTECODE": ""}
