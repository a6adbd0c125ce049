"""The folder of a run: its lock, its config, and what must not change while it goes on."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import yaml

from medseg.config import TrainConfig, load_json, load_yaml
from medseg.errors import BadCohort, BadConfig, BadOutput
from medseg.manifests.looks import LOOKS_FILE
from medseg.training.length import Length
from medseg.training.processes import World
from medseg.writers.atomic import atomic_path
from medseg.writers.guard import require_writable
from medseg.writers.lock import RUN_LOCK, FolderLock

#: What to do about a file of a run that was damaged.
DAMAGED = "Restore the file, or begin a new run in another folder."

_log = logging.getLogger(__name__)

#: A row of ``curves.csv`` or ``validation.csv``, as it stands in the file.
Row = Mapping[str, str]

#: Draws the rows of both as PNG.
Draw = Callable[[Sequence[Row], Sequence[Row]], bytes]

_ALONE = World()


@dataclass(frozen=True)
class Run:
    """Where and how one run takes place.

    Attributes:
        folder: holds ``model/``, ``curves.csv``, ``schedule.json``, ``checkpoints/``, ``cache/``
            and what else docs/training.md lists.
        device: chosen by the caller.
        started: ``time.monotonic()`` when the command began; a time budget counts from here.
        cache: folder of prepared cases; ``folder/cache`` when ``None``.
        init: model whose weights to start from.
        world: which of several processes this is.
        draw: makes the picture of the curves; ``None`` for none.
        break_lock: whether locks that another host left in folders of folds are taken over.
    """

    folder: Path
    device: torch.device
    started: float
    cache: Path | None = None
    init: Path | None = None
    world: World = _ALONE
    draw: Draw | None = None
    break_lock: bool = False

    @property
    def checkpoint(self) -> Path:
        """The last state of the run."""
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        """The weights that validated best so far."""
        return self.folder / "checkpoints" / "best.safetensors"

    @property
    def schedule(self) -> Path:
        """How many steps the run has, and under what it computes."""
        return self.folder / "schedule.json"

    @property
    def model(self) -> Path:
        """The model folder, there when the run is over."""
        return self.folder / "model"


def hold_run(folder: Path, *, break_lock: bool = False) -> FolderLock:
    """Make the run's folder and hold it for this process; a context manager.

    Args:
        folder: of the run.
        break_lock: take over the lock of another host.

    Raises:
        BadOutput: the folder cannot be written, or (on entering) another process holds it.
    """
    require_writable(folder)
    return FolderLock(folder, RUN_LOCK, break_lock=break_lock)


def begin_run(folder: Path, config: TrainConfig, *, resume: bool, free: Sequence[str] = ()) -> None:
    """Make the run's folder and keep the config in it, or refuse one that holds another run.

    Args:
        folder: of the run.
        config: of the run; before steps are planned, ``training.minutes`` may change.
        resume: go on with what the folder holds, if it holds anything.
        free: further keys of the config that may have changed since.

    Raises:
        BadOutput: the folder holds a run and `resume` was not asked.
        BadConfig: the run to resume was begun with another config.
    """
    path, schedule = folder / "config.yaml", folder / "schedule.json"
    before = load_yaml(path) if path.is_file() else config.model_dump(mode="json")
    if any((folder / part).exists() for part in ("model", "checkpoints", "out_of_fold")):
        if not resume:
            raise BadOutput(
                "the folder already holds a run",
                path=folder,
                remedy="Go on with --resume, or choose another --output.",
            )
        planned = "plans" in read_facts(schedule)
        check_same_config(before, config, path, free if planned else (*free, "training.minutes"))
    is_begun = (folder / "checkpoints" / "last.ckpt").is_file()
    if not resume or (changed_keys(before, config) and not is_begun):
        schedule.unlink(missing_ok=True)  # of an attempt that gained nothing
    if not resume:
        for name in ("init.json", LOOKS_FILE):
            (folder / name).unlink(missing_ok=True)
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, default_flow_style=None)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_same_config(
    before: Mapping[str, Any], config: TrainConfig, path: Path, free: Sequence[str] = ()
) -> None:
    """Refuse to go on with what was begun with another config.

    Args:
        before: the config then.
        config: the config now.
        path: of what was begun.
        free: keys that may have changed since.

    Raises:
        BadConfig: names the keys that have changed.
    """
    changed = [key for key in changed_keys(before, config) if key not in free]
    if changed:
        raise BadConfig(
            "the run was begun with another config",
            path=path,
            found=", ".join(changed),
            expected="no change of these keys",
            remedy="Resume with the same config, or start a new run with --init.",
        )


def changed_keys(before: Mapping[str, Any], config: TrainConfig) -> list[str]:
    """Dotted keys that differ."""
    return _changed(before, config.model_dump(mode="json"))


def check_same_cases(path: Path, cases: str) -> None:
    """Refuse to go on with a run that was begun with other cases.

    Args:
        path: of ``schedule.json``.
        cases: digest of what is trained and validated on.

    Raises:
        BadCohort: scans, labels or their division into folds have changed.
    """
    if read_facts(path).get("cases", cases) != cases:
        raise BadCohort(
            "the run was begun with other cases",
            path=path.parent,
            found="scans, labels or folds that have changed since",
            expected="the cohort as it was",
            remedy="Resume with the cohort as it was, or start a new run with --init.",
        )


def environment() -> dict[str, object]:
    """What must not change for a resumed run to follow the undisturbed one to the bit."""
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "processes": dist.get_world_size() if dist.is_initialized() else 1,
    }


def write_schedule(path: Path, **facts: object) -> None:
    """Add facts to ``schedule.json``: the number of steps once it is fixed, parts of a batch."""
    content = {**read_facts(path), **facts, **environment()}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def write_length(path: Path, length: Length, **facts: object) -> None:
    """Keep how many steps the run has, with every correction, for a run that resumes."""
    write_schedule(path, steps=length.steps, plans=length.plans, **facts)


def read_schedule(path: Path) -> tuple[Length | None, int]:
    """Length of the run (``None`` if not fixed yet) and parts of a batch.

    Names what has changed in the environment since.
    """
    facts = read_facts(path)
    for name, now in environment().items() if facts else ():
        if facts.get(name) != now:
            _log.warning(
                "resumed with %s %s, begun with %s: the weights will differ in the last digits"
                " from an undisturbed run's",
                name,
                now,
                facts.get(name),
            )
    try:
        plans = tuple((int(start), int(steps)) for start, steps in facts.get("plans", ()))
        return Length(plans) if plans else None, int(facts.get("parts", 1))
    except (ValueError, TypeError, OverflowError) as error:
        raise BadOutput(
            "the length of the run cannot be read", path=path, found=error, remedy=DAMAGED
        ) from None


def read_facts(path: Path) -> dict[str, Any]:
    """What ``schedule.json`` holds; nothing where there is none."""
    return load_json(path, refusal=BadOutput, remedy=DAMAGED) if path.is_file() else {}


def _changed(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key in sorted({*before, *now}, key=str):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            keys += _changed(old, new, f"{prefix}{key}.")
        elif old != new:
            keys.append(f"{prefix}{key}")
    return keys
