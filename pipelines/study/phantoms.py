"""Paints short-axis hearts of known shape, so that the study runs where no scan is at hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from study.cohorts import StudyCase, StudyCohort, quantised

SPACING_MM = (1.5, 1.5, 8.0)
SLICES = 6


def phantom_hearts(
    *, train: int, test: int, size: int = 96, seed: int = 0, dims: int = 2
) -> StudyCohort:
    """A cohort of painted hearts: a crescent beside a ring around a disc, from base to apex.

    Args:
        train: patients to learn from, one scan each.
        test: patients to score.
        size: voxels along both axes of a slice.
        seed: of shapes and noise.
        dims: of the networks.
    """
    rng = np.random.default_rng(seed)
    cases = []
    for number in range(train + test):
        classes = _heart(rng, size)
        image = quantised(_seen(rng, classes))
        name = f"phantom_{number:03}"
        cases.append(StudyCase(name, name, number >= train, image, classes, SPACING_MM))
    labels = ("right ventricle", "myocardium", "left ventricle")
    about = f"painted hearts of {size} x {size} x {SLICES} voxels, 1.5 mm in plane"
    patch = (size, size) if dims == 2 else (size, size, SLICES)
    return StudyCohort("phantoms", dims, patch, 4, labels, 2.0, about, tuple(cases))


def _heart(rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """(X, Y, Z) class indices; off centre, and smaller towards the last slice."""
    x, y = np.mgrid[:size, :size] - size / 2
    shift = rng.uniform(-0.1, 0.1, 2) * size
    turn = rng.uniform(-0.6, 0.6)
    u = (x - shift[0]) * np.cos(turn) + (y - shift[1]) * np.sin(turn)
    v = (y - shift[1]) * np.cos(turn) - (x - shift[0]) * np.sin(turn)
    radius, wall = rng.uniform(9, 13) * size / 96, rng.uniform(4, 6) * size / 96
    squash = rng.uniform(0.88, 1.1)
    classes = np.zeros((size, size, SLICES), np.uint8)
    for z in range(SLICES):
        r = radius * (1 - 0.75 * (z / (SLICES - 1)) ** 2)
        distance = np.hypot(u, v * squash)
        right = np.hypot(u + 1.5 * r + wall, v / 1.5) < 1.3 * r
        classes[..., z][right] = 1
        classes[..., z][distance < r + wall] = 2
        classes[..., z][distance < r] = 3
    return classes


def _seen(rng: np.random.Generator, classes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Blurred, shaded and noisy, in standard deviations as a prepared scan is."""
    levels = np.array([0.35, 1.0, 0.15, 1.1]) + rng.normal(0, 0.05, 4)
    image = levels[classes]
    clutter = ndimage.gaussian_filter(rng.normal(size=classes.shape), (4, 4, 0.5))
    image = image + 0.25 * clutter / clutter.std()
    image = ndimage.gaussian_filter(image, (0.7, 0.7, 0))
    ramp = np.linspace(-1, 1, len(image))[:, None, None] * rng.uniform(-0.2, 0.2)
    image = image * (1 + ramp) + rng.normal(0, 0.12, classes.shape)
    return np.asarray((image - image.mean()) / image.std())
