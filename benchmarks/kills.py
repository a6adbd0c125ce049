"""Every verb is killed at random instants; the next run must end as an undisturbed one.

    python benchmarks/kills.py --work FOLDER [--verbs convert,segment …] [--kills 100] [--seed 0]

A run gets SIGKILL or SIGTERM at a random instant, again and again into one output folder; after
every few kills a run is left to end, and everything that the verb writes is compared with what an
undisturbed run wrote. Hidden half-written files are counted after every kill and after the run that
ended: there must be none.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MEDSEG = [sys.executable, "-c", "from medseg.cli import main; main()"]
#: Kills before a run may end.
_IN_A_ROW = 4
#: A training of seconds.
_CONFIG = """\
cohort: phantoms/cohort.yaml
dims: 3
patch: [16, 16, 16]
network: {name: unet, options: {features: [4, 8]}}
training: {steps: 12, batch: 2, seed: 1}
"""
#: Columns that differ between equal runs.
_TIMES = {"seconds"}


@dataclass(frozen=True)
class Verb:
    """How a verb is called, and what it writes.

    Attributes:
        arguments: without the output.
        patterns: of the files that must be equal to an undisturbed run's.
        output: what follows ``--output``, below the folder of a run; empty where nothing is.
        prepare: makes what the verb edits in place.
        more: of a run that goes on after a kill.
    """

    arguments: Sequence[object]
    patterns: Sequence[str]
    output: str = "out"
    prepare: Callable[[Path], object] = lambda folder: None
    more: Sequence[str] = ()

    def command(self, folder: Path, *, again: bool) -> list[str]:
        words = [str(word).replace("FOLDER", str(folder)) for word in self.arguments]
        output = ["--output", str(folder / self.output)] if self.output else []
        return [*MEDSEG, *words, *output, *(self.more if again else ())]


@dataclass
class Tally:
    """What was counted for one verb."""

    kills: int = 0
    ended: int = 0
    differences: list[str] = field(default_factory=list)
    parts_after_kill: int = 0
    parts_after_run: int = 0

    def line(self, verb: str) -> str:
        return (
            f"{verb:18}{self.kills:6} kills {self.ended:5} whole runs {len(self.differences):4} "
            f"different {self.parts_after_kill:5} part files after kills "
            f"{self.parts_after_run:3} after the next run"
        )


def torment(
    verb: Verb,
    work: Path,
    kills: int,
    chance: random.Random,
    *,
    tell: Callable[[Tally], object] = lambda tally: None,
) -> Tally:
    """Kill a verb so many times, and compare every run that may end.

    Args:
        verb: which.
        work: folder for its runs.
        kills: at least so many.
        chance: of the instants and the signals.
        tell: called after every run that ended.
    """
    tally = Tally()
    calm = _fresh(verb, work / "calm")
    started = time.monotonic()
    code, _ = _run(verb.command(calm, again=False))
    seconds = time.monotonic() - started
    expected = contents(calm, verb.patterns)
    assert expected or not verb.output, f"the undisturbed run wrote nothing (exit code {code})"
    while tally.kills < kills:
        folder = _fresh(verb, work / "killed")
        again = False
        for _ in range(_IN_A_ROW):
            number = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
            delay = chance.uniform(0.1, 1.0) * seconds
            if _killed(verb.command(folder, again=again), number, delay):
                tally.kills += 1
                tally.parts_after_kill += len(parts(folder))
            again = True
        ended, said = _run(verb.command(folder, again=again))
        tally.ended += 1
        found = contents(folder, verb.patterns)
        if ended != code or found != expected:
            missing = sorted(expected.keys() - found.keys())
            other = sorted(name for name in found if found[name] != expected.get(name))
            tally.differences.append(
                f"exit code {ended} ({code}); missing {missing}; different {other}; {said}"
            )
        tally.parts_after_run += len(parts(folder))
        tell(tally)
    return tally


def contents(folder: Path, patterns: Sequence[str]) -> dict[str, str]:
    """Checksum by name of what a verb wrote; of tables without the columns of times."""
    paths = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return {path.relative_to(folder).as_posix(): _checksum(path, folder) for path in paths}


def parts(folder: Path) -> list[Path]:
    """Half-written files."""
    return [path for path in folder.rglob("*") if path.name.startswith((".part-", "tmp"))]


def _checksum(path: Path, folder: Path) -> str:
    data = path.read_bytes()
    if path.suffix == ".csv":
        with path.open(newline="") as lines:
            rows = [
                {name: cell for name, cell in row.items() if name not in _TIMES}
                for row in csv.DictReader(lines)
            ]
        data = repr(rows).encode()
    return hashlib.sha256(data.replace(str(folder).encode(), b"")).hexdigest()


def _fresh(verb: Verb, folder: Path) -> Path:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    verb.prepare(folder)
    return folder


def _run(command: list[str]) -> tuple[int, str]:
    """Exit code and the last line of complaint."""
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
    return done.returncode, (done.stderr.strip().splitlines() or [""])[-1]


def _killed(command: list[str], number: signal.Signals, delay: float) -> bool:
    """Whether the run was still there to be killed."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_environment()
    )
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        process.wait()
        return True
    return False


def _environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


def verbs(work: Path) -> dict[str, Verb]:
    """Every verb over a small cohort of phantoms, made here."""
    from medseg.phantoms import Population, write_phantom_cohort

    cohort = work / "phantoms" / "cohort.yaml"
    if not cohort.exists():
        write_phantom_cohort(cohort.parent, Population(spacing_mm=8.0), cases=10)
    card, images = cohort, cohort.parent / "images"
    model, masks = work / "run" / "model", work / "masks"
    scores = [work / "scores", work / "scores2"]
    config = work / "config.yaml"
    config.write_text(_CONFIG)
    _once(model, ["train", config, "--output", model.parent, "--device", "cpu"])
    _once(masks, ["segment", model, images, "--output", masks, "--device", "cpu"])
    for folder in scores:
        _once(folder, ["evaluate", masks, card, "--split", "test", "--output", folder])
    train = ["train", config, "--device", "cpu"]
    return {
        "convert": Verb(["convert", images], ["out/*.nii.gz", "out/scans.csv"]),
        "segment": Verb(
            ["segment", model, images, "--device", "cpu"], ["out/*.nii.gz", "out/cases.csv"]
        ),
        "train": Verb(train, ["out/model/weights/*"], more=["--resume"]),
        "train, 2 processes": Verb(
            [*train, "training.processes=2"], ["out/model/weights/*"], more=["--resume"]
        ),
        "evaluate": Verb(["evaluate", masks, card, "--split", "test"], ["out/s*.csv"]),
        "compare": Verb(["compare", *scores], ["out/*.csv"]),
        "plan": Verb(["plan", card], ["out/plan.yaml"], "out/plan.yaml"),
        "cohort import": Verb(
            ["cohort", "import", "folders", cohort.parent], ["out/c.*"], "out/c.yaml"
        ),
        "cohort check": Verb(["cohort", "check", card], [], ""),
        "cohort split": Verb(
            ["cohort", "split", card, "--test", "0.2", "--folds", "2"], ["out/c.*"], "out/c.yaml"
        ),
    }


def _once(place: Path, arguments: Sequence[object]) -> None:
    if not place.exists():
        subprocess.run([*MEDSEG, *map(str, arguments)], env=_environment(), check=True)


def main() -> None:
    """Print one line a verb, and what was different."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for everything")
    parser.add_argument("--verbs", help="some of them, with commas between")
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    work = options.work.absolute()
    os.environ["MEDSEG_CACHE"] = str(work / "cache")
    table = verbs(work)
    for name in options.verbs.split(",") if options.verbs else table:
        chance = random.Random(f"{options.seed} {name}")
        tally = torment(
            table[name],
            work / "under attack" / name,
            options.kills,
            chance,
            tell=lambda tally, name=name: print("so far", tally.line(name), flush=True),
        )
        print(tally.line(name), flush=True)
        print(*tally.differences, sep="\n", end="\n" if tally.differences else "", flush=True)


if __name__ == "__main__":
    main()
