"""Turn a scan in memory into the working tensor that a network sees, deterministically."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.config import PrepareConfig
from medseg.geometry import Geometry, working_grid
from medseg.labels import LabelTable
from medseg.memory import is_out_of_memory
from medseg.transforms.normalise import normalise
from medseg.transforms.resample import resample
from medseg.transforms.truth import resample_labels
from medseg.volume import LabelMap, Volume

_CPU = torch.device("cpu")


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
        look: what the scan is recognised by (see `medseg.manifests.looks`); empty like `pixels`.
    """

    image: torch.Tensor
    working: Geometry
    native: Geometry
    warnings: tuple[str, ...] = ()
    pixels: str = ""
    intensity: tuple[tuple[float, float, float], ...] = ()
    look: bytes = b""


def grid_for(native: Geometry, config: PrepareConfig) -> Geometry:
    """The working grid of a scan under a config."""
    return working_grid(native, config.spacing_mm, alignment=config.alignment, frame=config.frame)


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
    working = grid_for(volume.geometry, config)
    image = _on_grid(volume, working, config, device)
    remarks: tuple[str, ...] = ()
    if config.bias_field != "keep":
        image, remarks = without_bias_field(image, working)
    image = normalise(image, config.normalise)
    return Prepared(image, working, volume.geometry, (*volume.origin.warnings, *remarks))


def without_bias_field(
    image: torch.Tensor, working: Geometry
) -> tuple[torch.Tensor, tuple[str, ...]]:
    """(C, X, Y, Z) float32 values on a grid, N4-corrected on the CPU; and remarks."""
    from medseg.transforms.bias_field import correct_channels  # loads SimpleITK

    values, remarks = correct_channels(image.cpu().numpy(), working.spacing_mm)
    return torch.from_numpy(values).to(image.device), remarks


def _on_grid(
    volume: Volume, working: Geometry, config: PrepareConfig, device: torch.device
) -> torch.Tensor:
    for place in dict.fromkeys((device, _CPU)):
        try:
            return resample(volume.data, volume.geometry, working, kernel=config.resampling,
                            measure=volume.measuring(), device=place)  # fmt: skip
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
