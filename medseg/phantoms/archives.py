"""DICOM archives of phantoms, as untidy as those that hospitals hand out."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple, cast

import numpy as np

from medseg.errors import BadConfig
from medseg.geometry import Geometry
from medseg.phantoms.cohorts import SECOND_VISIT_EVERY, Population, phantom_of
from medseg.phantoms.render import Phantom
from medseg.volume import Volume
from medseg.writers.atomic import atomic_path
from medseg.writers.dicom_series import write_dicom_series

#: Scans from this number on are in no cohort.
FIRST_HELD_OUT = 10_000 * SECOND_VISIT_EVERY


class ArchivedScan(NamedTuple):
    """A phantom and where its series lie.

    Attributes:
        folders: of each channel's series, relative to the archive.
        phantom: with its truth.
    """

    folders: tuple[Path, ...]
    phantom: Phantom


def write_phantom_archive(
    folder: str | Path, population: Population | None = None, *, cases: int = 2
) -> tuple[ArchivedScan, ...]:
    """Write series of patients of the population that no cohort of it holds.

    Each patient has a folder, with a folder for the study, with a folder for each series: a
    localizer, then the scan, or a series for each channel. Files of scans have no ending. The
    last patient's localizer lies among the slices of the scan, and a text file at the top.

    Args:
        folder: the archive's top.
        population: what to draw from; DICOM cannot hold `mirrored` grids as they are stored.
        cases: patients.

    Raises:
        BadConfig: fewer than one case, or a population that cannot be made.
    """
    population = population or Population()
    if cases < 1:
        raise BadConfig("an archive needs a case", found=cases, expected="1 or more")
    top = Path(folder)
    written = []
    for index in range(cases):
        number = FIRST_HELD_OUT + (SECOND_VISIT_EVERY + 1) * index
        phantom, _, _ = phantom_of(population, number)
        study = Path(f"PAT{index + 1:04d}") / "STUDY01"
        scout = study / ("SER02" if index == cases - 1 else "SER01")
        seed = population.seed * FIRST_HELD_OUT + number
        write_dicom_series(
            localizer(phantom.volume),
            top / scout,
            seed=seed,
            series=1,
            modality=_modality(phantom),
            patient=f"PHANTOM{index + 1}",
            flavour="LOCALIZER",
        )
        folders = []
        for channel, values in enumerate(phantom.volume.data):
            place = study / f"SER{channel + 2:02d}"
            write_dicom_series(
                Volume(values[None], phantom.volume.geometry),
                top / place,
                seed=seed,
                series=channel + 2,
                modality=_modality(phantom),
                patient=f"PHANTOM{index + 1}",
                ending="",
            )
            folders.append(place)
        written.append(ArchivedScan(tuple(folders), phantom))
    with atomic_path(top / "README.TXT") as temporary:
        temporary.write_text(
            "Phantoms: no patient exists. This file is no image.\n", encoding="utf-8"
        )
    return tuple(written)


def localizer(volume: Volume) -> Volume:
    """Two coarse coronal planes through the middle of a scan."""
    grid = volume.geometry
    (along_r, along_a, along_s), _ = grid.canonical_axes
    ordered = np.moveaxis(volume.data[0], (along_r, along_s, along_a), (0, 1, 2))
    middle = ordered.shape[2] // 2
    planes = slice(max(0, middle - 5), middle + 6, 10)
    affine = np.eye(4)
    for new, old in enumerate((along_r, along_s, along_a)):
        affine[:3, new] = grid.affine[:3, old] * (2 if new < 2 else 10)
    first = np.zeros(3)
    first[along_a] = planes.start
    affine[:3, 3] = grid.to_world(first)
    coarse = ordered[::2, ::2, planes]
    x, y, z = coarse.shape
    return Volume(coarse[None], Geometry((x, y, z), affine))


def _modality(phantom: Phantom) -> Literal["CT", "MR"]:
    return cast("Literal['CT', 'MR']", phantom.volume.origin.modality)
