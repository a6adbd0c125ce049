"""A segmenter by threshold that can be told to crash, hang or be slow; importable by workers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medseg.batch.task import Task
from medseg.config import Choice, InferConfig, PrepareConfig
from medseg.errors import BadModel, BadScan, NotAVolume
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.model import ModelCard, save_model
from medseg.readers.nifti import volume as nifti
from medseg.volume import LabelMap, Volume
from medseg.writers import write_volume

LABELS = LabelTable.from_card({"labels": {"ball": 1}})
BALL_VALUE = 100


@dataclass(frozen=True)
class Result:
    labelmap: LabelMap
    volumes_ml: dict[str, float]
    confidence: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    probabilities: None = None
    uncertainty: tuple[()] = ()


@dataclass(frozen=True)
class Budget:
    """As large as the scan."""

    host_bytes: int

    def describe(self) -> str:
        return f"predicted peak {self.host_bytes} bytes"


@dataclass(frozen=True)
class Threshold:
    """Everything at or above the value is the ball."""

    seconds: float = 0.0
    loads: bool = True

    def load(self):
        if not self.loads:
            raise BadModel("the weights are not the ones the card was written for")
        return self._segment

    def _segment(self, take: Callable[[], Volume], *, tell=None) -> Result:
        volume = take()
        if tell is not None:
            tell(Budget(volume.data.nbytes))
        time.sleep(self.seconds)
        mask = (volume.values()[0] >= BALL_VALUE / 2).astype(np.uint8)
        labelmap = LabelMap(mask, volume.geometry, LABELS, volume.origin)
        return Result(labelmap, {"ball": labelmap.volume_ml("ball")})


def small_model(folder: Path, folds: int = 1) -> Path:
    """A model folder with a real, untrained network, or one a fold."""
    from medseg.networks import build_network  # here: a worker that unpickles a stub needs no torch

    options = {"features": [4, 8]}
    networks = [
        build_network("unet", dims=3, in_channels=1, out_channels=2, options=options)
        for _ in range(folds)
    ]
    card = ModelCard(
        name="ball",
        modality="MR",
        channels=("T1",),
        labels={"ball": 1},
        dims=3,
        network=Choice(name="unet", options=options),
        prepare=PrepareConfig(),
        infer=InferConfig(window=(8, 8, 8)),
        volume_ranges_ml={"ball": (0.03, 0.6)},
    )
    names = ["all"] if folds == 1 else [f"fold{number}" for number in range(folds)]
    weights = {name: one.state_dict() for name, one in zip(names, networks, strict=True)}
    save_model(folder, card, LABELS, weights)
    return folder


@dataclass(frozen=True)
class File:
    """Reads a NIfTI file; `deed` happens first."""

    path: Path
    deed: str = ""
    once: Path | None = None

    def read(self) -> Volume:
        if self.once is None or not self.once.exists():
            if self.once is not None:
                self.once.touch()
            self._do()
        return nifti.read(self.path)

    def _do(self) -> None:
        match self.deed:
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                time.sleep(3600)
            case "refuse":
                raise BadScan("a slice is missing", path=self.path, found="9 of 10")
            case "skip":
                raise NotAVolume("a report", path=self.path)
            case "bug":
                raise ZeroDivisionError(f"in {self.path}")


@dataclass
class Archive:
    """A folder of scans with a ball in each, and the tasks that read them."""

    root: Path
    tasks: list[Task] = field(default_factory=list)

    def add(self, case: str, deed: str = "", once: Path | None = None, size: int = 12) -> Task:
        path = self.root / f"{case}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_volume(scan(len(self.tasks), size), path)
        task = task_of(self.root, case, deed, once)
        self.tasks.append(task)
        return task


def scan(seed: int, size: int = 12) -> Volume:
    """Noise with an off-centre ball whose size depends on the seed."""
    geometry = Geometry((size, size, size), np.diag([1.0, 1.0, 2.0, 1.0]))
    grid = np.moveaxis(np.indices(geometry.shape), 0, -1)
    centre = np.array([size // 2 - 1, size // 2, size // 2 + 1])
    inside = ((grid - centre) ** 2).sum(-1) <= (2 + seed % 3) ** 2
    noise = np.random.default_rng(seed).integers(0, 20, geometry.shape)
    return Volume((noise + BALL_VALUE * inside).astype(np.int16)[None], geometry)


def task_of(root: Path, case: str, deed: str = "", once: Path | None = None) -> Task:
    path = root / f"{case}.nii.gz"
    status = path.stat()
    return Task(
        case,
        path.name,
        str(path),
        f"{status.st_size} {status.st_mtime_ns}",
        status.st_size,
        File(path, deed, once),
    )
