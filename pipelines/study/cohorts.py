"""Prepares a cohort once for every cell of the study, and keeps it in one small file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.config import PrepareConfig
from medseg.labels import LabelTable
from medseg.manifests import Case, load_cohort, read_truth
from medseg.writers.atomic import atomic_path

CARDS = Path(__file__).parent.parent.parent / "data_manifests"

#: Intensities beyond these standard deviations are clipped; the rest is kept in 255 steps.
CLIP = (-3.0, 5.0)


@dataclass(frozen=True, eq=False)
class StudyCase:
    """One scan on the study's grid.

    Attributes:
        case, patient: ids.
        test: whether it is scored; else it is trained on.
        image: (X, Y, Z) uint8, see `CLIP`.
        classes: (X, Y, Z) uint8 class indices, 0 background.
        spacing_mm: of the grid.
    """

    case: str
    patient: str
    test: bool
    image: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class StudyCohort:
    """What a cell trains on and is scored on.

    Attributes:
        name: of the cohort.
        dims: of the networks; 2 takes slices along the last axis.
        patch: voxels an axis of a training patch.
        batch: patches a step.
        labels: names in the order of their class index, from 1.
        tolerance_mm: of the NSD.
        about: how it was prepared, in words.
        cases: train and test.
    """

    name: str
    dims: int
    patch: tuple[int, ...]
    batch: int
    labels: tuple[str, ...]
    tolerance_mm: float
    about: str
    cases: tuple[StudyCase, ...]

    @property
    def train(self) -> tuple[StudyCase, ...]:
        """The cases to learn from."""
        return tuple(case for case in self.cases if not case.test)

    @property
    def test(self) -> tuple[StudyCase, ...]:
        """The cases to score."""
        return tuple(case for case in self.cases if case.test)

    @property
    def table(self) -> LabelTable:
        """The labels, none of them with a side."""
        entries = {
            name: {"value": value, "side": "none"} for value, name in enumerate(self.labels, 1)
        }
        return LabelTable.from_card({"labels": entries})


@dataclass(frozen=True)
class Recipe:
    """How a committed cohort becomes the study's: card, grid, crop and share of its train rows."""

    card: str
    dims: int
    patch: tuple[int, ...]
    batch: int
    spacing_mm: tuple[float | None, float | None, float | None]
    crop: tuple[int, int] | None
    every: int
    tolerance_mm: float
    about: str


RECIPES: dict[str, Recipe] = {
    "heart": Recipe(
        card="acdc.yaml",
        dims=2,
        patch=(128, 128),
        batch=8,
        spacing_mm=(1.5, 1.5, None),
        crop=(128, 128),
        every=2,
        tolerance_mm=2.0,
        about="slices of cine MR at 1.5 mm in plane, the middle 192 mm, one of the two phases of "
        "each train patient in turn, both of the 15 test patients",
    ),
    "hippocampus": Recipe(
        card="hippocampus.yaml",
        dims=3,
        patch=(40, 56, 40),
        batch=2,
        spacing_mm=(None, None, None),
        crop=None,
        every=2,
        tolerance_mm=1.0,
        about="whole crops of T1 MR at 1 mm, every second train row, the 40 test rows",
    ),
}


def prepare(name: str, root: Path) -> StudyCohort:
    """Read, resample, normalise and crop the scans of a recipe, as medseg prepares them."""
    recipe = RECIPES[name]
    cohort = load_cohort(CARDS / recipe.card, root=root)
    rows = [case for case in cohort.cases if case.split == "test"]
    train = [case for case in cohort.cases if case.split == "train"]
    chosen = _every(train, recipe.every)
    cases = []
    for row, test in [*((r, False) for r in chosen), *((r, True) for r in rows)]:
        cases.append(_prepared(cohort, row, recipe, test=test))
    labels = tuple(label.name for label in cohort.labels.labels)
    return StudyCohort(
        name,
        recipe.dims,
        recipe.patch,
        recipe.batch,
        labels,
        recipe.tolerance_mm,
        recipe.about,
        tuple(cases),
    )


def _every(rows: list[Case], step: int) -> list[Case]:
    """Every n-th case; of patients with n cases each, another one of them in turn."""
    patients = list(dict.fromkeys(row.patient for row in rows))
    if len(patients) == len(rows):
        return rows[::step]
    of = {name: [row for row in rows if row.patient == name] for name in patients}
    return [of[name][place % len(of[name])] for place, name in enumerate(patients)]


def _prepared(cohort: Any, row: Case, recipe: Recipe, *, test: bool) -> StudyCase:
    from medseg.transforms.prepare import prepare_truth
    from medseg.transforms.steps import prepare_files

    ready = prepare_files(row.sources, PrepareConfig(spacing_mm=recipe.spacing_mm))
    truth = read_truth(cohort, row, grid=ready.native)
    classes = prepare_truth(truth, cohort.labels, ready.working)
    image = ready.image.numpy()[0]
    for axis, size in enumerate(recipe.crop or ()):
        image, classes = (centred(array, axis, size) for array in (image, classes))
    spacing = tuple(round(float(mm), 4) for mm in ready.working.spacing_mm)
    return StudyCase(
        row.case, row.patient, test, quantised(image), classes.astype(np.uint8), spacing
    )  # type: ignore[arg-type]


def centred(array: NDArray[Any], axis: int, size: int) -> NDArray[Any]:
    """The middle of an axis; a shorter one is widened by its border."""
    lacking = max(0, size - array.shape[axis])
    margins = [(0, 0)] * array.ndim
    margins[axis] = (lacking // 2, lacking - lacking // 2)
    wide = np.pad(array, margins, mode="edge")
    start = (wide.shape[axis] - size) // 2
    return np.take(wide, range(start, start + size), axis=axis)


def quantised(image: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Normalised intensities in 255 steps."""
    low, high = CLIP
    return np.round((np.clip(image, low, high) - low) / (high - low) * 255).astype(np.uint8)


def intensities(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What `quantised` kept, as a network sees it."""
    low, high = CLIP
    return (image.astype(np.float32) / 255 * (high - low) + low).astype(np.float32)


def save(cohort: StudyCohort, path: Path) -> None:
    """Write the cohort into one compressed file."""
    facts: dict[str, Any] = {
        key: getattr(cohort, key)
        for key in ("name", "dims", "patch", "batch", "labels", "tolerance_mm", "about")
    }
    facts["cases"] = [[c.case, c.patient, c.test, c.spacing_mm] for c in cohort.cases]
    arrays: dict[str, NDArray[Any]] = {"facts": np.array(json.dumps(facts))}
    for case in cohort.cases:
        arrays[f"image:{case.case}"] = case.image
        arrays[f"classes:{case.case}"] = case.classes
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load(path: Path) -> StudyCohort:
    """Read what `save` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        facts: Mapping[str, Any] = json.loads(str(arrays["facts"]))
        cases = tuple(
            StudyCase(
                name,
                patient,
                test,
                arrays[f"image:{name}"],
                arrays[f"classes:{name}"],
                tuple(spacing),
            )
            for name, patient, test, spacing in facts["cases"]
        )
    return StudyCohort(
        facts["name"],
        facts["dims"],
        tuple(facts["patch"]),
        facts["batch"],
        tuple(facts["labels"]),
        facts["tolerance_mm"],
        facts["about"],
        cases,
    )
