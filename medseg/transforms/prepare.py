"""Turn a scan into the working tensor that a network sees, deterministically, as one Compose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Transform
from numpy.typing import NDArray

from medseg.config import PrepareConfig
from medseg.errors import MedsegError
from medseg.geometry import Geometry, working_grid
from medseg.labels import LabelTable
from medseg.scans import Frames
from medseg.transforms.bias_field import CorrectBiasField
from medseg.transforms.load import INTENSITY, PIXELS, WARNINGS, LoadScan, geometry_of, meta_of
from medseg.transforms.normalise import NormaliseChannels
from medseg.transforms.resample import resample
from medseg.transforms.truth import resample_labels
from medseg.volume import LabelMap, Volume


@dataclass(frozen=True, eq=False)
class Prepared:
    """A scan on its working grid.

    Attributes:
        image: (C, X, Y, Z) float32, normalised.
        working: the grid it lies on: axes in plane, in plane, through plane.
        native: the scan's own grid, to which masks go home.
        warnings: what the reader accepted but the user should know.
        pixels: the scan's pixel hash; empty when the scan was read before preparing.
        intensity: percentiles of its real-world values; empty like `pixels`.
    """

    image: torch.Tensor
    working: Geometry
    native: Geometry
    warnings: tuple[str, ...] = ()
    pixels: str = ""
    intensity: tuple[tuple[float, float, float], ...] = ()


class ToWorkingGrid(Transform):
    """Resample a scan onto its working grid: one resampling, anti-aliased.

    A :class:`Volume` is taken as it is stored, a block at a time; a (C, X, Y, Z) MetaTensor holds
    measured values already.
    """

    def __init__(self, config: PrepareConfig) -> None:
        self.config = config

    def __call__(self, scan: MetaTensor | Volume) -> MetaTensor:
        """The scan on its working grid."""
        if isinstance(scan, Volume):
            native, meta, measure = scan.geometry, meta_of(scan), scan.measuring()
            array: torch.Tensor | NDArray[Any] = scan.data
        else:
            native, meta, measure = geometry_of(scan), scan.meta, None
            array = scan.as_tensor()
        target = grid_for(native, self.config)
        data = resample(array, native, target, kernel=self.config.resampling, measure=measure)
        return MetaTensor(data, meta={**meta, "affine": np.array(target.affine)})


def grid_for(native: Geometry, config: PrepareConfig) -> Geometry:
    """The working grid of a scan under a config."""
    return working_grid(native, config.spacing_mm, alignment=config.alignment, frame=config.frame)


def prepare_steps(config: PrepareConfig) -> Compose:
    """The deterministic road from a scan in memory to the working tensor."""
    correct = [] if config.bias_field == "keep" else [CorrectBiasField()]
    return Compose([ToWorkingGrid(config), *correct, NormaliseChannels(config.normalise)])


def load_steps(config: PrepareConfig, frames: Frames = Frames.CHECK) -> Compose:
    """The same road from file names on: MONAI's ``LoadImage`` with medseg's reader first."""
    # map_items would take a list of channels for a list of scans
    return Compose([_loader(frames), *prepare_steps(config).transforms], map_items=False)


@cache
def _loader(frames: Frames) -> LoadScan:
    return LoadScan(frames)


def prepare_volume(volume: Volume, config: PrepareConfig) -> Prepared:
    """Prepare a scan that was read already."""
    image = _run(prepare_steps(config), volume)
    return _prepared(image, volume.geometry)


def prepare_files(
    paths: Sequence[str | Path], config: PrepareConfig, *, frames: Frames = Frames.CHECK
) -> Prepared:
    """Read and prepare one scan (several paths are its channels, see `Frames`)."""
    names = [str(path) for path in paths]
    image = _run(load_steps(config, frames), names if len(names) > 1 else names[0])
    native = Geometry(
        tuple(int(n) for n in image.meta["spatial_shape"]),  # type: ignore[arg-type]
        image.meta["original_affine"],
    )
    return _prepared(image, native)


def prepare_truth(truth: LabelMap, labels: LabelTable, working: Geometry) -> NDArray[np.int16]:
    """(X, Y, Z) class indices on the working grid; -1 where the truth says ignore.

    Index 0 is background, index i the i-th label in order of value. Each connected part of a
    label keeps its volume, as far as whole voxels allow.
    """
    index_of = np.zeros(max(*labels.values, labels.ignore or 0, 0) + 1, dtype=np.int16)
    index_of[list(labels.values)] = np.arange(1, len(labels.values) + 1)
    if labels.ignore is not None:
        index_of[labels.ignore] = -1
    classes = index_of[truth.data]
    present = [int(value) for value in np.unique(classes)]
    return np.asarray(resample_labels(classes, truth.geometry, working, present), dtype=np.int16)


def _run(steps: Compose, first: Any) -> MetaTensor:
    """Run the steps; a refusal comes out as itself, not wrapped by MONAI's Compose."""
    try:
        image: MetaTensor = steps(first)
    except RuntimeError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, MedsegError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise cause from None
    return image


def _prepared(image: MetaTensor, native: Geometry) -> Prepared:
    return Prepared(
        image.as_tensor().float().contiguous(),
        geometry_of(image),
        native,
        tuple(image.meta[WARNINGS]),
        image.meta.get(PIXELS, ""),
        tuple((low, middle, high) for low, middle, high in image.meta.get(INTENSITY, ())),
    )
