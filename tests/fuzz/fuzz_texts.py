"""Proves that damaged texts never end a verb in a traceback, hang it, or lead it out of its folder.

    python tests/fuzz/fuzz_texts.py --mutants 10000

Every mutant is one damaged card, table, config, plan, model card, ledger or other text in a small
world of intact files. What reads it, or now and then a whole verb, runs in a worker process: it may
end well or refuse in words, within 10 s of the processor and 1 GiB more of memory, and changes
nothing outside its output.
The last lines are the counts.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import random
import resource
import shutil
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import typer

from medseg.batch import EXECUTORS
from medseg.cli.app import app
from medseg.errors import BadConfig, MedsegError
from tests.fuzz.mutate_text import mutate_text
from tests.fuzz.text_readers import READERS
from tests.fuzz.texts import OUTPUTS, TARGETS, Target, make_world
from tests.fuzz.workers import BAD, Outcome, TooLong, run, start_clock, stop_clock

MEMORY_BYTES = 1 << 30
#: Beyond what is taken already; a backstop for what would end the machine.
_ADDRESSES = 8 << 30


def examine(world: Path, scratch: Path, share: float, number: int) -> Outcome:
    """Damage one text of the world, read it or run a verb that does, and judge.

    Args:
        world: intact.
        scratch: what is damaged lies in its folder ``case``.
        share: of the mutants that meet a whole verb.
        number: of the mutant.
    """
    chance = random.Random(number)
    (target,) = chance.choices(TARGETS, [target.share for target in TARGETS])
    case = scratch / "case"
    _renew(world, case)
    victim = case / target.file
    mutation, content = mutate_text(victim.read_bytes(), chance)
    victim.write_bytes(content)
    command = chance.choice(target.commands)
    alone = target.name in READERS and chance.random() >= share
    before = _state(scratch, target)
    if alone:
        name, deed = "its reader", partial(READERS[target.name], case)
    else:
        words = [*command, "--quiet"] if command[0] != "status" else [*command]
        name, deed = " ".join(words), partial(app, words, standalone_mode=False)
    result, detail = _judged(deed, case)
    after = _state(scratch, target)
    if after != before and result not in BAD:
        changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
        result, detail = "wrong", f"changed or made {sorted(changed)[:5]}"
    return Outcome(number, target.name, mutation, result, f"{name}: {detail}")


def _renew(world: Path, case: Path) -> None:
    """The world again; files that nobody touched stay."""
    wanted = {path.relative_to(world): path for path in world.rglob("*") if path.is_file()}
    for path in [path for path in case.rglob("*") if not path.is_dir()]:
        if path.relative_to(case) not in wanted:
            path.unlink()
    for name, path in wanted.items():
        copy = case / name
        if copy.is_symlink() or not copy.is_file() or _stamp(copy) != _stamp(path):
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.unlink(missing_ok=True)
            shutil.copy2(path, copy)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _judged(deed: Callable[[], object], case: Path) -> tuple[str, str]:
    """How it ended; what is printed is looked at, not shown."""
    printed = io.StringIO()
    os.chdir(case)
    _forget_peak()
    held = _memory_bytes("VmRSS")
    start_clock()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            code = deed()
    except TooLong:
        return "hang", traceback.format_exc(limit=-3)
    except MemoryError:
        return "memory", traceback.format_exc(limit=-3)
    except typer.Exit as ended:
        code = ended.exit_code
    except MedsegError:
        code = 1
    except Exception:  # noqa: BLE001 - any of them is what we look for
        return "crash", traceback.format_exc(limit=-4)
    finally:
        stop_clock()
        os.chdir("/")
    if "Traceback (most recent" in printed.getvalue():
        return "crash", printed.getvalue()[-1500:]
    if _memory_bytes("VmHWM") - held > MEMORY_BYTES:
        return "memory", f"{(_memory_bytes('VmHWM') - held) / 1e9:.1f} GB"
    return ("refused" if code in (1, 2) else "done"), printed.getvalue()[-200:]


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _memory_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def _state(scratch: Path, target: Target) -> dict[str, tuple[int, int, int]]:
    """Every file that the verb has no business with."""
    free = tuple(f"case/{name}/" for name in (*OUTPUTS, *target.writes))
    found = {}
    for path in scratch.rglob("*"):
        name = path.relative_to(scratch).as_posix()
        if not f"{name}/".startswith(free) and not path.is_dir():
            status = path.lstat()
            found[name] = (status.st_size, status.st_mtime_ns, status.st_ino)
    return found


def begin() -> None:
    """A worker: quiet, with no processes below it, and no training but of a run that resumes."""
    from medseg import training

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    EXECUTORS["process"] = EXECUTORS["inline"]
    genuine = training.train
    most = _memory_bytes("VmSize") + _ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))

    def one(settings: Any, cohort: Any, run: Any, **callbacks: Any) -> Any:
        if run.folder.name == "run" and (settings.training.steps or 99) <= 2:
            return genuine(settings, cohort, run, **callbacks)
        raise BadConfig("trainings are left out here")

    training.train = training.train_folds = one  # type: ignore[assignment]


def make_scratch(folder: Path) -> tuple[Path, Path]:
    """An intact world and a folder to damage it in, with something beside it to be kept."""
    world, scratch = folder / "world", folder / "scratch"
    world.mkdir()
    (scratch / "outside").mkdir(parents=True)
    (scratch / "outside" / "precious.txt").write_text("kept")
    before = Path.cwd()
    os.chdir(world)
    make_world(world)
    os.chdir(before)
    return world, scratch


def main() -> None:
    """Print what went wrong as it happens, and a table of counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--verbs", type=float, default=0.1, help="share that meets a whole verb")
    parser.add_argument("--minutes", type=float, default=60.0)
    options = parser.parse_args()
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MEDSEG_CACHE"] = f"{folder}/cache"
        world, scratch = make_scratch(Path(folder))
        numbers = range(options.first, options.first + options.mutants)
        started = time.monotonic()
        one = partial(examine, world, scratch, options.verbs)
        for outcome in run(one, numbers, begin):
            counts.setdefault(outcome.seed, Counter())[outcome.result] += 1
            if outcome.result in BAD:
                print(
                    f"{outcome.result.upper()} mutant {outcome.number} of {outcome.seed} "
                    f"({outcome.mutation}): {outcome.detail}",
                    flush=True,
                )
            if time.monotonic() - started > 60 * options.minutes:
                break
    total = print_counts(counts, ("done", "refused", *BAD))
    raise SystemExit(1 if any(total[kind] for kind in BAD) else 0)


def print_counts(counts: dict[str, Counter[str]], kinds: tuple[str, ...]) -> Counter[str]:
    """One line a kind of file, and one for all."""
    total = sum(counts.values(), Counter())
    print(f"{'':28}" + "".join(f"{kind:>9}" for kind in kinds))
    for name, count in sorted(counts.items()):
        print(f"{name:28}" + "".join(f"{count[kind]:9}" for kind in kinds))
    print(f"{'all ' + str(total.total()):28}" + "".join(f"{total[kind]:9}" for kind in kinds))
    return total


if __name__ == "__main__":
    main()
