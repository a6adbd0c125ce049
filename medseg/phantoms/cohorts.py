"""Cohorts of phantoms: NIfTI scans and masks, with card and table."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from medseg.checksums import sha256_of
from medseg.errors import BadConfig
from medseg.manifests.card import write_cohort
from medseg.manifests.cohort import Case, Cohort, Split
from medseg.manifests.split import split_cohort
from medseg.memory import usable_cores
from medseg.phantoms.render import Phantom, draw_patient, scan_patient
from medseg.progress import Progress
from medseg.volume import Volume
from medseg.writers import write_labels, write_volume

#: One patient in this many comes twice, so that splitting by case would leak.
SECOND_VISIT_EVERY = 6
TEST_SHARE = 0.2
FOLDS = 5


@dataclass(frozen=True)
class Population:
    """Which phantoms to make.

    Attributes:
        anatomy, modality, spacing_mm, structures: see `make_phantom`.
        grids: one site for each, whose scanner lays its voxels so.
        seed: the same patients again.
    """

    anatomy: str = "abdomen"
    modality: str = "CT"
    grids: tuple[str, ...] = ("axial",)
    spacing_mm: float = 5.0
    structures: tuple[str, ...] | None = None
    seed: int = 0


def write_phantom_cohort(
    folder: str | Path,
    population: Population | None = None,
    *,
    cases: int = 20,
    progress: Progress | None = None,
) -> Path:
    """Write scans, masks, table and card; what stands there is replaced.

    Patients are divided into a test part and folds by `split_cohort`. Sex, age and site are
    made up; the site names the grid.

    Returns:
        The card, ``folder/cohort.yaml``.

    Raises:
        BadConfig: too few cases, or a population that cannot be made.
    """
    population = population or Population()
    if cases < 2 * FOLDS:
        raise BadConfig("too few phantoms to divide", found=cases, expected=f"{2 * FOLDS} or more")
    home = Path(folder)
    write = partial(_write_case, home, population)
    with ThreadPoolExecutor(min(4, usable_cores())) as pool:
        written = []
        for result in pool.map(write, range(cases)):
            written.append(result)
            if progress:
                progress(len(written), cases)
    first = written[0][1]
    if first.truth.labels is None:
        raise BadConfig("a phantom without labels makes no cohort")
    cohort = Cohort(
        name=f"phantoms-{population.anatomy}",
        modality=first.volume.origin.modality,
        channels=first.volume.channels,
        labels=first.truth.labels,
        cases=tuple(case for case, _ in written),
        root=home,
        source="made by medseg.phantoms",
        licence="CC0-1.0",
        notes=f"No patient exists. Seed {population.seed}; the volumes are known exactly.",
    )
    return write_cohort(
        split_cohort(cohort, test_share=TEST_SHARE, folds=FOLDS, seed=population.seed),
        home / "cohort.yaml",
    )


def phantom_of(population: Population, index: int) -> tuple[Phantom, str, str]:
    """The scan of that number, its patient's id, and its site."""
    person = _person(index)
    site = index % len(population.grids)
    body = np.random.default_rng([population.seed, 1, person])
    patient = draw_patient(body, anatomy=population.anatomy, structures=population.structures)
    visit = np.random.default_rng([population.seed, 2, index])
    phantom = scan_patient(
        patient.moved(visit),
        visit,
        modality=population.modality,
        grid=population.grids[site],
        spacing_mm=population.spacing_mm,
    )
    return phantom, f"P{person + 1:03d}", f"site {chr(ord('A') + site)}"


def _person(index: int) -> int:
    """Every so many scans the patient of the scan before comes again."""
    return index - (index + 1) // SECOND_VISIT_EVERY


def _write_case(home: Path, population: Population, index: int) -> tuple[Case, Phantom]:
    phantom, patient, site = phantom_of(population, index)
    name = f"phantom_{index + 1:03d}"
    images = _write_channels(phantom.volume, home / "images", name)
    label = home / "labels" / f"{name}.nii.gz"
    write_labels(phantom.truth, label)
    chance = np.random.default_rng([population.seed, 3, _person(index)])
    return Case(
        case=name,
        patient=patient,
        split=Split.TRAIN,
        fold=None,
        images=images,
        label=label,
        image_sha256={channel: sha256_of(path) for channel, path in images.items()},
        label_sha256=sha256_of(label),
        covariates={
            "sex": str(chance.choice(["F", "M"])),
            "age": str(chance.integers(24, 88)),
            "site": site,
        },
    ), phantom


def _write_channels(volume: Volume, folder: Path, name: str) -> dict[str, Path]:
    several = len(volume.channels) > 1
    paths = {}
    for index, channel in enumerate(volume.channels):
        path = folder / (f"{name}_{channel}.nii.gz" if several else f"{name}.nii.gz")
        write_volume(
            Volume(
                volume.data[index : index + 1],
                volume.geometry,
                channels=(channel,),
                origin=volume.origin,
            ),
            path,
        )
        paths[channel] = path
    return paths
