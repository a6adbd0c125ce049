"""Cohorts for the tests of training: tiny scans with an off-centre ball and a box beside it."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from medseg.labels import LabelTable
from medseg.manifests import Case, Cohort, Split, load_cohort, write_cohort
from medseg.readers.labels import read_labels
from medseg.volume import LabelMap, Volume
from medseg.writers import write_labels, write_volume
from tests.transforms.grids import grid

ORGANS = LabelTable.from_card({"labels": {"ball": 1, "box": 3}})


def make_scan(index, *, shape=(24, 24, 24), codes="LPS", spacing=(2.0, 2.0, 2.0)):
    """A bright ball and a darker box in noise, (X, Y, Z) int16, and its truth."""
    rng = np.random.default_rng([7, index])
    truth = np.zeros(shape, np.uint8)
    mesh = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    size = np.array(shape)
    centre = size * [0.62, 0.4, 0.5] + rng.uniform(-1, 1, 3)
    distance = np.linalg.norm((mesh - centre) / np.maximum(size / 5, 1), axis=-1)
    truth[distance < 1] = 1
    corner = np.maximum((size * [0.15, 0.5, 0.25]).astype(int) + rng.integers(-1, 2, 3), 0)
    stop = np.minimum(corner + np.maximum(size // 4, 1), size)
    truth[tuple(slice(a, b) for a, b in zip(corner, stop, strict=True))] = 3
    values = np.select([truth == 1, truth == 3], [300.0, 120.0], 0.0) + rng.normal(0, 20, shape)
    native = grid(shape, spacing, codes)
    return Volume(values.astype(np.int16)[None], native), LabelMap(truth, native, ORGANS)


def partly_labelled(folder: Path, **options) -> Cohort:
    """A tiny cohort whose even cases show the ball alone in their truth, odd ones the box."""
    cohort = tiny_cohort(folder, **options)
    rows = []
    for index, row in enumerate(cohort.cases):
        name = ORGANS.names[index % 2]
        if row.split is Split.TRAIN:
            truth = read_labels(row.label)
            kept = np.where(truth.data == ORGANS.value_of(name), truth.data, 0)
            write_labels(LabelMap(kept, truth.geometry, ORGANS), row.label)
            row = replace(row, labelled=(name,))
        rows.append(row)
    return load_cohort(write_cohort(cohort.with_cases(tuple(rows)), cohort.path))


def tiny_cohort(
    folder: Path, *, cases=5, channels=("CT",), labels=ORGANS, relabel=None, **scan
) -> Cohort:
    """Train rows in folds 0 and 1, and one test row whose files do not exist."""
    rows = []
    for index in range(cases):
        volume, truth = make_scan(index, **scan)
        name = f"case_{index:02d}"
        images = {}
        for number, channel in enumerate(channels):
            images[channel] = folder / "images" / f"{name}_{number}.nii.gz"
            data = volume.data if number == 0 else -volume.data + number
            write_volume(Volume(data, volume.geometry), images[channel])
        if relabel is not None:
            truth = LabelMap(relabel(truth.data), truth.geometry, labels)
        label = folder / "labels" / f"{name}.nii.gz"
        write_labels(truth, label)
        rows.append(Case(name, f"P{index}", Split.TRAIN, index % 2, images, label))
    nowhere = dict.fromkeys(channels, folder / "images" / "nowhere.nii.gz")
    rows.append(Case("secret", "P99", Split.TEST, None, nowhere, folder / "labels" / "none.nii.gz"))
    cohort = Cohort("tiny", "CT", tuple(channels), labels, tuple(rows), folder)
    return load_cohort(write_cohort(cohort, folder / "tiny.yaml"))
