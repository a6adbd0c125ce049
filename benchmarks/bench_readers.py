"""medseg, dcm2niix, SimpleITK and dicom2nifti side by side: who reads scans right, and how fast.

    python3 -m venv RIVALS && RIVALS/bin/pip install dcm2niix SimpleITK dicom2nifti nibabel
    python benchmarks/bench_readers.py --scans SCANS --rivals RIVALS [--speed]

SCANS is a truth suite (truth.json and check.py). A case counts as *right* if every volume written
lies where the truth has it with the truth's values and nothing that must convert is missing, or
nothing was written where nothing may be. *Refused* means that a readable scan was not written,
*wrong* that a volume was written that the truth does not have: the silent kind of error.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import ModuleType

from benchmarks.reader_archive import make_archive

RIVALS = ("dcm2niix", "simpleitk", "dicom2nifti")
GRADES = ("right", "refused", "wrong")
MEDSEG = [sys.executable, "-c", "from medseg.cli import main; main()"]


def grade(case: dict, written: list[Path], checker: ModuleType) -> tuple[str, str]:
    """How a tool did on a case."""
    for path in written:
        try:
            fine, why = checker.check(case, str(path))
        except Exception as error:  # noqa: BLE001 - an unreadable output is a wrong one
            fine, why = False, f"unreadable output: {error}"
        if not fine:
            return "wrong", why
    if case["expect"] == "ok" and len(written) < len(case["volumes"]):
        return "refused", f"{len(written)} of {len(case['volumes'])} volumes written"
    return "right", ""


def outputs(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.nii")) + sorted(folder.rglob("*.nii.gz"))


def by_medseg(jobs: list[dict]) -> dict[str, str]:
    """Through the command line, in this process' interpreter, one call a case."""
    from typer.testing import CliRunner

    from medseg.cli.app import app

    return {
        job["case"]: CliRunner()
        .invoke(app, ["convert", job["input"], "--output", job["output"]])
        .output
        for job in jobs
    }


def by_rival(tool: str, python: Path, jobs: list[dict]) -> dict[str, str]:
    done = subprocess.run(
        [python, Path(__file__).with_name("rival_readers.py"), tool],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def scoreboard(scans: Path, rivals: Path | None, scratch: Path) -> None:
    """Print counts by kind of case and tool, and every wrong volume."""
    cases = json.loads((scans / "truth.json").read_text())["cases"]
    checker = _checker(scans)
    tools = ["medseg", *(RIVALS if rivals else ())]
    counts: dict[tuple[str, str], Counter[str]] = {}
    notes = []
    for tool in tools:
        jobs = [
            {
                "case": case["id"],
                "input": str(scans / case["path"]),
                "output": str(scratch / tool / case["id"]),
            }
            for case in cases
        ]
        if tool == "medseg":
            by_medseg(jobs)
        else:
            by_rival(tool, rivals / "bin" / "python", jobs)
        for case, job in zip(cases, jobs, strict=True):
            result, why = grade(case, outputs(Path(job["output"])), checker)
            counts.setdefault((case["kind"], tool), Counter())[result] += 1
            counts.setdefault(("all", tool), Counter())[result] += 1
            if result == "wrong":
                notes.append(f"wrong: {tool} on {case['id']}: {why}")
    print(*sorted(notes), sep="\n")
    print(f"\n{'kind':10}" + "".join(f"{tool:>24}" for tool in tools))
    print(" " * 10 + f"{'right refused wrong':>24}" * len(tools))
    for kind in dict.fromkeys([case["kind"] for case in cases] + ["all"]):
        cells = [
            " ".join(
                f"{counts[kind, tool][name]:>{width}}"
                for name, width in zip(GRADES, (5, 7, 5), strict=True)
            )
            for tool in tools
        ]
        print(f"{kind:10}" + "".join(f"{cell:>24}" for cell in cells))


def _checker(scans: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("truth_suite_check", scans / "check.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"no check.py in {scans}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def speed(scans: Path, rivals: Path | None, scratch: Path, files: int) -> None:
    """Print wall time and peak memory on one large archive."""
    archive = scratch / "archive"
    count = make_archive(scans, archive, files)
    size = sum(path.stat().st_size for path in archive.rglob("*.dcm"))
    print(f"\n{count} files, {size / 1e6:.0f} MB, {os.cpu_count()} cores")
    os.environ["MEDSEG_CACHE"] = str(scratch / "cache")
    whole = [*MEDSEG, "convert", archive, "--quiet", "--output"]
    timed = [
        ("medseg convert --dry-run, first look", [*whole, scratch / "a", "--dry-run"]),
        ("medseg convert --dry-run, second look", [*whole, scratch / "b", "--dry-run"]),
    ]
    timed.append(("medseg convert, index known", [*whole, scratch / "c"]))
    for name, command in timed:
        _time(name, command)
    shutil.rmtree(scratch / "cache")
    baseline = _time("medseg convert, first look", [*whole, scratch / "d"])
    for level in ("-6", "-1") if rivals else ():
        (scratch / f"n{level}").mkdir()
        seconds = _time(
            f"dcm2niix -z y {level}",
            [
                rivals / "bin" / "dcm2niix",
                "-z",
                "y",
                level,
                "-f",
                "%j_%s",
                "-o",
                scratch / f"n{level}",
                archive,
            ],
        )
        print(f"{'':40} medseg takes {baseline / seconds:.2f} of that")


def _time(name: str, command: list[object]) -> float:
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    print(
        f"{name:40} {seconds:7.2f} s wall {usage.ru_utime + usage.ru_stime:7.2f} s CPU "
        f"{usage.ru_maxrss / 1024:6.0f} MB peak, exit {os.waitstatus_to_exitcode(status)}",
        flush=True,
    )
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scans", type=Path, required=True)
    parser.add_argument("--rivals", type=Path, help="environment with the other tools")
    parser.add_argument("--speed", action="store_true", help="the large archive instead")
    parser.add_argument("--files", type=int, default=5000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["MEDSEG_CACHE"] = str(Path(scratch) / "cache")
        if options.speed:
            speed(options.scans, options.rivals, Path(scratch), options.files)
        else:
            scoreboard(options.scans, options.rivals, Path(scratch))


if __name__ == "__main__":
    main()
