"""Turn a scan in memory into the working tensor that a network sees, deterministically."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.config import PrepareConfig
from medseg.geometry import Box, Geometry, part_of, respaced, role_grid, stored_grid
from medseg.geometry.precision import HEADER_PRECISION
from medseg.labels import LabelTable
from medseg.memory import is_out_of_memory
from medseg.transforms.crop import box_of_content
from medseg.transforms.kernels import Kernel
from medseg.transforms.normalise import normalise
from medseg.transforms.resample import resample
from medseg.transforms.truth import resample_labels
from medseg.volume import LabelMap, Measure, Volume

_CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Prepared:
    """A scan on its working grid.

    Attributes:
        image: (C, X, Y, Z) float32, normalised.
        working: the grid it lies on: axes in plane, in plane, through plane.
        native: the scan's own grid, to which masks go home.
        kept: the box of its voxels that the working grid covers; ``None`` is all of them.
        nearest_axis: the working axis along which logits go to the nearest slice, if any.
        warnings: what the reader accepted but the user should know.
        pixels: the scan's pixel hash; empty when the scan was read before preparing.
        intensity: percentiles of its real-world values; empty like `pixels`.
        look: what the scan is recognised by (see `medseg.manifests.looks`); empty like `pixels`.
    """

    image: torch.Tensor
    working: Geometry
    native: Geometry
    warnings: tuple[str, ...] = ()
    pixels: str = ""
    intensity: tuple[tuple[float, float, float], ...] = ()
    look: bytes = b""
    kept: Box | None = None
    nearest_axis: int | None = None


def grid_for(native: Geometry, config: PrepareConfig) -> Geometry:
    """The working grid of a scan under a config."""
    return respaced(ordered_grid(native, config), config.spacing_mm, config.alignment)


def ordered_grid(native: Geometry, config: PrepareConfig) -> Geometry:
    """A scan's own voxels with axes in working order."""
    if config.axes is not None:
        return stored_grid(native, config.axes, config.turned_to)
    return role_grid(native, config.frame)


class Way(Enum):
    """From a scan to its working grid, or from there home."""

    THERE = "there"
    HOME = "home"


def nearest_axis(native: Geometry, config: PrepareConfig, way: Way) -> int | None:
    """The working axis along which nothing is interpolated, but the nearest slice taken.

    It is the coarsest axis of where values come from, or else of where they go, if spacings there
    are more than `slices_apart` times apart and no other axis is as coarse.
    """
    if config.slices_apart is None:
        return None
    scan = ordered_grid(native, config).spacing_mm
    plan = [own if mm is None else mm for mm, own in zip(config.spacing_mm, scan, strict=True)]
    for spacing in (scan, plan) if way is Way.THERE else (plan, scan):
        if max(spacing) > config.slices_apart * min(spacing) * (1 + HEADER_PRECISION):
            as_coarse = max(spacing) * (1 - HEADER_PRECISION)
            coarsest = [axis for axis in range(3) if spacing[axis] > as_coarse]
            return coarsest[0] if len(coarsest) == 1 else None
    return None


def kernels(native: Geometry, config: PrepareConfig) -> list[Kernel]:
    """How intensities are interpolated along each working axis."""
    kernel: Kernel = "linear" if config.resampling == "linear_narrow" else config.resampling
    along: list[Kernel] = [kernel] * 3
    slices = nearest_axis(native, config, Way.THERE)
    if slices is not None:
        along[slices] = "nearest"
    return along


def widens(config: PrepareConfig) -> bool:
    """Whether kernels are widened where an axis shrinks, against aliasing."""
    return config.resampling != "linear_narrow"


def prepare_volume(
    volume: Volume, config: PrepareConfig, *, device: torch.device = _CPU
) -> Prepared:
    """Resample a scan onto its working grid, correct it where asked, and normalise it.

    Args:
        volume: the scan.
        config: the working grid and the rules.
        device: where that is calculated and the image stays; where memory runs out there, it
            is done on the CPU.

    Raises:
        BadConfig: the rules do not fit the scan's channels.
    """
    source = _Source(volume.data, volume.geometry, volume.measuring())
    if config.crop == "zeros" or config.normalise_on == "scan":
        source = _Source(torch.from_numpy(volume.measured()), volume.geometry, None)
    kept = None
    if config.crop == "zeros":
        kept = box_of_content(np.asarray(source.array))
        source = source.cut(kept)
    remarks: tuple[str, ...] = ()
    if config.normalise_on == "scan":
        image, remarks = _normalised(torch.as_tensor(source.array), source.grid, config)
        source = _Source(image, source.grid, None)
    working = grid_for(source.grid, config)
    image = _on_grid(source, working, config, device)
    if config.normalise_on == "working":
        image, remarks = _normalised(image, working, config)
    return Prepared(
        image,
        working,
        volume.geometry,
        (*volume.origin.warnings, *remarks),
        kept=kept,
        nearest_axis=nearest_axis(volume.geometry, config, Way.HOME),
    )


@dataclass(frozen=True, eq=False)
class _Source:
    """What is resampled: numbers, their grid, and how to measure them."""

    array: torch.Tensor | NDArray[Any]
    grid: Geometry
    measure: Measure | None

    def cut(self, box: Box) -> _Source:
        return _Source(self.array[(slice(None), *box)], part_of(self.grid, box), self.measure)


def _normalised(
    image: torch.Tensor, grid: Geometry, config: PrepareConfig
) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Corrected where asked, and normalised; and remarks."""
    remarks: tuple[str, ...] = ()
    if config.bias_field != "keep":
        image, remarks = without_bias_field(image, grid)
    return normalise(image, config.normalise), remarks


def without_bias_field(
    image: torch.Tensor, working: Geometry
) -> tuple[torch.Tensor, tuple[str, ...]]:
    """(C, X, Y, Z) float32 values on a grid, N4-corrected on the CPU; and remarks."""
    from medseg.transforms.bias_field import correct_channels  # loads SimpleITK

    values, remarks = correct_channels(image.cpu().numpy(), working.spacing_mm)
    return torch.from_numpy(values).to(image.device), remarks


def _on_grid(
    source: _Source, working: Geometry, config: PrepareConfig, device: torch.device
) -> torch.Tensor:
    for place in dict.fromkeys((device, _CPU)):
        try:
            return resample(
                source.array,
                source.grid,
                working,
                kernel=kernels(source.grid, config),
                antialias=widens(config),
                measure=source.measure,
                device=place,
            )
        except RuntimeError as error:
            if place == _CPU or not is_out_of_memory(error):
                raise
    raise AssertionError("the CPU raises its own error")


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
