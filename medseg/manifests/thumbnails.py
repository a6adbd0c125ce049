"""Compares scans by thumbnails: detail at a coarse scale, its coarse anatomy taken away.

Copies are alike in every part of it, two patients of one anatomy in most parts; and copies agree
in their noise, where anatomy shows little, two patients never.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: Voxels of the thumbnail along each axis.
THUMB = 24

#: Correlation of thumbnails from which on two scans are one. Two patients of one cohort came to
#: 0.69 at most (skull-stripped brains, which are the most alike of what was tried).
ALIKE = 0.82

#: The same in what a pair does not share with the rest of its cohort: one anatomy is no copy.
ALIKE_BEYOND = 0.5

#: Parts along each axis of the thumbnail, and the correlation that all but a twentieth of them must
#: reach. Copies resampled by 0.7 or smoothed came to 0.68 or more, and two phantoms of one anatomy
#: whose whole thumbnails pass to 0.62 at most (2,000 pairs of one anatomy).
PARTS, FEW_PARTS, ALIKE_IN_PARTS = 4, 0.05, 0.65

#: Share of the thumbnail's voxels where least happens, and the correlation of the noise there.
#: Copies came to 0.55 or more (resampled by 0.5 to 1.3, smoothed, with added noise), and phantoms
#: of one anatomy with noise of their own to 0.34 at most.
QUIET, ALIKE_IN_NOISE = 0.2, 0.45

#: A part is left out where its detail is less than this share of the mean.
_FAINT = 0.1

#: Below so many scans nothing says what they share, and a pair must correlate more.
_SMALL_COHORT, ALIKE_OF_FEW = 5, 0.93

#: Share of the thumbnail that its detail must fill evenly to distinguish patients.
_RICH = 0.1

#: Steps of the thumbnail's values between which nothing is distinguished. The noise of a large
#: scan, averaged over a voxel of the thumbnail, is a few thousandths of the range of values.
_LEVELS = 1000

#: Means of equal values differ by less than this share of them.
_ROUNDING = 2e-6


def thumbnail(image: NDArray[Any]) -> NDArray[np.float32]:
    """Ranks of the means over equal boxes, less their own surroundings, of norm 1.

    Ranks, so that no bright structure outweighs the rest. Zeros where neighbours are all equal,
    and everywhere if what is left of a scan is one simple shape: two patients can share that.
    """
    first, second, third = (_box_means(size) for size in image.shape)
    means = np.zeros((THUMB, THUMB, THUMB), np.float32)
    for index, plane in enumerate(image):
        rows = np.flatnonzero(first[:, index])
        means[rows] += first[rows, index, None, None] * (second @ finite(plane) @ third.T)
    low, high = np.percentile(means, [1, 99])
    # neither noise in empty space nor rounding in a blank scan must make ranks
    step = max(float(high - low) / _LEVELS, _ROUNDING * float(np.abs(means).max())) or 1.0
    _, rank = np.unique(np.rint(means / np.float32(step)), return_inverse=True)
    ranks = rank.reshape(means.shape).astype(np.float32)
    detail = ranks - ndimage.gaussian_filter(ranks, 1)
    detail[ndimage.maximum_filter(ranks, 3) == ndimage.minimum_filter(ranks, 3)] = 0
    energy = detail.astype(np.float64) ** 2
    spread = energy.sum() ** 2 / max(float((energy**2).sum()), 1e-30) / energy.size
    if spread < _RICH:
        return np.zeros_like(detail)
    scaled: NDArray[np.float32] = detail / np.float32(math.sqrt(energy.sum()))
    return scaled


def _box_means(size: int) -> NDArray[np.float32]:
    """(THUMB, size) weights of voxels in equal parts of an axis."""
    edges = np.arange(THUMB + 1)[:, None] * size / THUMB
    voxel = np.arange(size)[None]
    overlap = np.minimum(edges[1:], voxel + 1) - np.maximum(edges[:-1], voxel)
    weights = np.clip(overlap, 0, None)
    shares: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def alike_thumbnails(thumbs: Sequence[NDArray[np.float32]]) -> Iterator[tuple[int, int]]:
    """Pairs whose thumbnails correlate or are negatives, whatever the order of the axes."""
    if len(thumbs) < 2:
        return
    known = np.stack([thumb.ravel() for thumb in thumbs])
    total, few = known.sum(axis=0), len(known) < _SMALL_COHORT
    flips = itertools.product((slice(None), slice(None, None, -1)), repeat=3)
    for order, flip in itertools.product(itertools.permutations(range(3)), flips):
        turned = np.stack([thumb.transpose(order)[flip].ravel() for thumb in thumbs])
        for start in range(0, len(known), 512):
            alike = known[start : start + 512] @ turned.T
            close = np.abs(alike) >= (ALIKE_OF_FEW if few else ALIKE)
            for row, other in np.argwhere(close).tolist():
                one, sign = start + row, np.sign(alike[row, other])
                rest = total - known[one] - known[other]
                if (
                    one < other
                    and (few or _beyond(rest, known[one], sign * turned[other]) >= ALIKE_BEYOND)
                    and _alike_everywhere(known[one], sign * turned[other])
                    and _alike_in_noise(known[one], sign * turned[other])
                ):
                    yield one, other


def _beyond(
    rest: NDArray[np.float32], one: NDArray[np.float32], other: NDArray[np.float32]
) -> float:
    """Correlation of two thumbnails in what they do not share with the rest of the cohort."""
    common = rest / max(float(np.linalg.norm(rest)), 1e-12)
    own, others = one - (one @ common) * common, other - (other @ common) * common
    return float(own @ others / max(float(np.linalg.norm(own) * np.linalg.norm(others)), 1e-12))


def _alike_everywhere(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether two thumbnails correlate in nearly all of their parts."""
    first, second = _parts(one), _parts(other)
    own, others = (first**2).sum(axis=1), (second**2).sum(axis=1)
    detail = np.maximum(own, others)
    rich = detail > _FAINT * detail.mean()
    alike = (first * second).sum(axis=1) / np.sqrt(np.maximum(own * others, 1e-30))
    return bool(np.quantile(alike[rich], FEW_PARTS) >= ALIKE_IN_PARTS)


def _alike_in_noise(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether what a median filter removes correlates away from edges and empty space."""
    first, second = (thumb.reshape((THUMB,) * 3).astype(np.float64) for thumb in (one, other))
    inner = ndimage.minimum_filter((first != 0) & (second != 0), 3)
    if not inner.any():
        return False
    nearby = ndimage.uniform_filter(first**2 + second**2, 3)
    quiet = inner & (nearby <= np.quantile(nearby[inner], QUIET))
    own, others = (
        thumb[quiet] - ndimage.median_filter(thumb, 3)[quiet] for thumb in (first, second)
    )
    return bool(own @ others > ALIKE_IN_NOISE * np.linalg.norm(own) * np.linalg.norm(others))


def _parts(thumb: NDArray[np.float32]) -> NDArray[np.float64]:
    """(parts, voxels) of a thumbnail."""
    size = THUMB // PARTS
    cubes = thumb.reshape(PARTS, size, PARTS, size, PARTS, size).transpose(0, 2, 4, 1, 3, 5)
    return cubes.reshape(PARTS**3, size**3).astype(np.float64)


def finite(part: NDArray[Any]) -> NDArray[np.float32]:
    """The values as float32; 0 for those that are not finite."""
    values = part.astype(np.float32)
    return values if part.dtype.kind != "f" else np.nan_to_num(values, posinf=0, neginf=0)
