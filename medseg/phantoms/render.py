"""Turns an anatomy into a scan and its truth: painted finely, averaged, blurred and noisy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.errors import BadConfig, BadGeometry
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.phantoms.abdomen import draw_abdomen
from medseg.phantoms.anatomy import Anatomy
from medseg.phantoms.appearance import SCANNERS, Scanner
from medseg.phantoms.brain import draw_brain
from medseg.phantoms.grids import phantom_grid
from medseg.phantoms.paint import box_of, centres_mm, tissue_averages, tissues_of
from medseg.volume import LabelMap, Origin, Volume

#: Anatomy -> how a patient is drawn.
ANATOMIES: dict[str, Callable[[np.random.Generator], Anatomy]] = {
    "abdomen": draw_abdomen,
    "brain": draw_brain,
}

#: Tissue is uneven over about this distance.
TEXTURE_MM = 7.0


class Phantom(NamedTuple):
    """A made-up scan with all that is known about it.

    Attributes:
        volume: (C, X, Y, Z) int16 of HU (CT) or arbitrary units (MR).
        truth: the voxels whose centre lies inside a structure.
        volumes_ml: exact volume of each structure, from the shapes' formulas.
    """

    volume: Volume
    truth: LabelMap
    volumes_ml: dict[str, float]


def make_phantom(
    rng: np.random.Generator | int = 0,
    *,
    anatomy: str = "abdomen",
    modality: str = "CT",
    grid: Geometry | str = "axial",
    spacing_mm: float = 5.0,
    structures: Sequence[str] | None = None,
) -> Phantom:
    """Draw a patient and scan them. One seed gives one patient, on whatever grid.

    Args:
        rng: where chance comes from, or a seed.
        anatomy: ``abdomen`` (liver, spleen, kidneys, aorta) or ``brain`` (oedema around a
            tumour core; regions whole and core).
        modality: ``CT``, ``MR`` (T1) or ``MR2`` (channels T1 and FLAIR).
        grid: a grid, or the name of one in ``GRIDS`` that covers the patient.
        spacing_mm: of the finest axis of a named grid.
        structures: which of the anatomy's structures have a truth; all when not given.

    Raises:
        BadConfig: no such anatomy, modality, grid or structure.
        BadGeometry: the grid cuts through a structure, so that its volume is not whole.
    """
    body, look = np.random.default_rng(rng).spawn(2)
    patient = draw_patient(body, anatomy=anatomy, structures=structures)
    return scan_patient(patient, look, modality=modality, grid=grid, spacing_mm=spacing_mm)


def draw_patient(
    rng: np.random.Generator, *, anatomy: str = "abdomen", structures: Sequence[str] | None = None
) -> Anatomy:
    """A patient without a scan; see `make_phantom`."""
    if anatomy not in ANATOMIES:
        raise BadConfig("no such anatomy", found=repr(anatomy), expected=", ".join(ANATOMIES))
    patient = ANATOMIES[anatomy](rng)
    if structures is None:
        return patient
    return replace(patient, labels=_subset(patient.labels, structures))


def scan_patient(
    patient: Anatomy,
    rng: np.random.Generator,
    *,
    modality: str = "CT",
    grid: Geometry | str = "axial",
    spacing_mm: float = 5.0,
) -> Phantom:
    """One examination of a patient; `rng` draws contrast, shading and noise."""
    if modality not in SCANNERS:
        raise BadConfig("no such modality", found=repr(modality), expected=", ".join(SCANNERS))
    if isinstance(grid, str):
        grid = phantom_grid(grid, spacing_mm=spacing_mm, extent_mm=patient.extent_mm)
    scanner = SCANNERS[modality]
    data = _measure(patient, grid, scanner, rng)
    volume = Volume(data, grid, channels=scanner.channels, origin=Origin(modality=scanner.modality))
    return Phantom(volume, truth_of(patient, grid), patient.volumes_ml)


def truth_of(patient: Anatomy, grid: Geometry) -> LabelMap:
    """The voxels whose centre lies in a structure.

    Raises:
        BadGeometry: the grid cuts through a structure, so that its volume is not whole.
    """
    points = patient.warp(centres_mm(grid))
    values = np.zeros(grid.shape, patient.labels.dtype)
    for part in patient.parts:
        if part.label in patient.labels.names:
            box = box_of(part, patient, grid)
            values[box][part.shape.inside(points[box])] = patient.labels.value_of(part.label)
    inner = values[1:-1, 1:-1, 1:-1]
    if np.count_nonzero(inner) != np.count_nonzero(values):
        raise BadGeometry(
            "the grid cuts through a structure of the phantom",
            found=grid.describe(),
            remedy="Use a grid that covers the patient, see phantom_grid().",
        )
    return LabelMap(values, grid, patient.labels)


def _subset(labels: LabelTable, names: Sequence[str]) -> LabelTable:
    unknown = [name for name in names if name not in labels.names]
    if unknown or not names:
        raise BadConfig("no such structure", found=unknown, expected=", ".join(labels.names))
    kept = tuple(label for label in labels.labels if label.name in names)
    numbered = tuple(replace(label, value=value) for value, label in enumerate(kept, start=1))
    return LabelTable(numbered)


def _measure(
    patient: Anatomy, grid: Geometry, scanner: Scanner, rng: np.random.Generator
) -> NDArray[np.int16]:
    """(C, X, Y, Z) stored numbers."""
    tissues = tissues_of(patient)
    levels = np.array(
        [
            [
                rng.normal(scanner.level(tissue, channel), scanner.spread(tissue, channel))
                for tissue in tissues
            ]
            for channel in scanner.channels
        ]
    )
    texture = np.array([scanner.texture(tissue) for tissue in tissues])
    averages = tissue_averages(patient, grid, np.vstack([levels, texture]).astype(np.float32))
    uneven = averages[-1] * _smooth_noise(rng, grid, TEXTURE_MM)
    return np.stack([scanner.measure(signal + uneven, grid, rng) for signal in averages[:-1]])


def _smooth_noise(rng: np.random.Generator, grid: Geometry, scale_mm: float) -> NDArray[np.float32]:
    """(X, Y, Z) noise of mean 0 and deviation 1, alike over about `scale_mm`."""
    white = rng.normal(size=grid.shape).astype(np.float32)
    smooth = ndimage.gaussian_filter(white, [scale_mm / mm for mm in grid.spacing_mm])
    return np.asarray(smooth / smooth.std(), np.float32)
