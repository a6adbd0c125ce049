"""Recognises two copies of one scan however they were saved, and no two patients as one.

Three looks at the voxels, which miss different things:

- **landmarks**: voxels that stand out from their neighbours, each with a code of its
  surroundings that does not change with the scaling of values or the order and direction of the
  axes. Landmarks of equal codes that lie alike in two scans are the same voxels. A crop, another
  header, another number type or changed voxels leave most of them; interpolation does not.
- a **thumbnail** of the whole scan, its coarse anatomy taken away. Resampling, smoothing and noise
  hardly change it; a crop does. Copies are alike in every part of it, two patients of one anatomy
  in most parts; and copies agree in their noise, where anatomy shows little, two patients never.

So neither sees a scan that was cropped *and* resampled, resampled onto turned axes, or acquired
again.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.geometry import Geometry
from medseg.manifests.slice_marks import shared_slices

#: Landmarks kept of a scan, the most prominent ones.
LANDMARKS = 400

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

#: Landmarks that must lie alike, and their share of those that could.
_FEWEST, _SHARE = 8, 0.2

#: A code that more scans than this share says nothing.
_COMMON = 16

#: Voxels looked at in floating point at a time.
_SLAB_VOXELS = 1 << 23

#: (48, 3, 3) every order and direction of the axes.
_TURNS = np.array(
    [
        np.diag(signs)[list(order)]
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1, -1), repeat=3)
    ]
)

#: Makes one number of a shift in voxels.
_KEY = np.array([1, 1 << 20, 1 << 40])


@dataclass(frozen=True, eq=False)
class Likeness:
    """What is kept of one scan; a few kilobytes that show nobody.

    Attributes:
        codes: (N,) of the landmarks.
        places: (N, 3) their voxels, on the axes nearest R, A, S.
        thumb: (THUMB, THUMB, THUMB) of norm 1; zeros for a scan of one value.
        slices: see `medseg.manifests.slice_marks`; empty where nobody looked at them.
    """

    codes: NDArray[np.uint64]
    places: NDArray[np.int64]
    thumb: NDArray[np.float32]
    slices: frozenset[int] = frozenset()


def likeness(image: NDArray[Any], geometry: Geometry) -> Likeness:
    """What to recognise a scan by.

    Args:
        image: (X, Y, Z) stored values; their scaling does not matter.
        geometry: whose axes are brought to R, A, S.
    """
    canonical = geometry.canonical(image)
    peaks = _peaks(canonical)
    patches = _patches(canonical, peaks)
    centre = patches.shape[1] // 2
    alone = (patches >= patches[:, centre, None]).sum(axis=1) == 1  # no plateau
    places = peaks[alone][:LANDMARKS]
    codes = _codes(patches[alone][:LANDMARKS], _reach(canonical.shape))
    return Likeness(codes, places, _thumbnail(canonical))


def same_scans(scans: Sequence[Likeness]) -> list[tuple[int, int]]:
    """Pairs that are one scan, the earlier one first; by thumbnails, slices or landmarks."""
    pairs = set(_alike_thumbs([scan.thumb for scan in scans]))
    pairs |= set(shared_slices([scan.slices for scan in scans]))
    for (one, other), matches in _shared_codes(scans).items():
        if (one, other) not in pairs and _lie_alike(scans[one], scans[other], matches):
            pairs.add((one, other))
    return sorted(pairs)


def _reach(shape: Sequence[int]) -> list[int]:
    """Voxels of a neighbourhood on either side; none across slices of a flat image."""
    return [1 if size > 2 else 0 for size in shape]


def _peaks(image: NDArray[Any]) -> NDArray[np.int64]:
    """(N, 3) voxels that no neighbour exceeds, the most prominent first."""
    reach = _reach(image.shape)
    inner = [slice(r, size - r) for r, size in zip(reach, image.shape, strict=True)]
    places: list[NDArray[np.int64]] = [np.empty((0, 3), np.int64)]
    strengths = [np.empty(0, np.float32)]
    thickness = max(4, _SLAB_VOXELS // max(1, image[0].size))
    for start in range(inner[0].start, inner[0].stop, thickness):
        stop = min(inner[0].stop, start + thickness)
        part = _finite(image[start - reach[0] : stop + reach[0]])
        size = [2 * r + 1 for r in reach]
        prominence = part - ndimage.uniform_filter(part, size)
        peaks = (part == ndimage.maximum_filter(part, size)) & (prominence > 0)
        own = (slice(reach[0], reach[0] + stop - start), inner[1], inner[2])
        where = np.argwhere(peaks[own])
        strength = prominence[own][tuple(where.T)]
        best = np.argsort(-strength, kind="stable")[: 4 * LANDMARKS]
        places.append(where[best] + np.array([start, inner[1].start, inner[2].start]))
        strengths.append(strength[best])
    order = np.argsort(-np.concatenate(strengths), kind="stable")[: 4 * LANDMARKS]
    return np.concatenate(places)[order]


def _finite(part: NDArray[Any]) -> NDArray[np.float32]:
    values = part.astype(np.float32)
    return values if part.dtype.kind != "f" else np.nan_to_num(values, posinf=0, neginf=0)


def _patches(image: NDArray[Any], places: NDArray[np.int64]) -> NDArray[np.float32]:
    """(N, 27) values about each place, (N, 9) in a flat image."""
    sides = [range(-r, r + 1) for r in _reach(image.shape)]
    steps = [np.array(step) for step in itertools.product(*sides)]
    return np.stack([_finite(image[tuple((places + step).T)]) for step in steps], axis=1)


def _codes(patches: NDArray[np.float32], reach: Sequence[int]) -> NDArray[np.uint64]:
    """(N,) which voxels about a place are above their middle value.

    The neighbourhood is first turned so that its values rise along every axis, most along the
    first: then axis order and direction of the scan do not matter.
    """
    cubes = patches.reshape(-1, *(2 * r + 1 for r in reach))
    above = cubes > np.median(patches, axis=1)[:, None, None, None]
    ends = [cubes.take(-1, axis) - cubes.take(0, axis) for axis in (1, 2, 3)]
    slopes = np.stack([end.sum(axis=(1, 2)) for end in ends], axis=1)
    orders = np.argsort(-np.abs(slopes), axis=1, kind="stable")
    codes = np.empty(len(patches), np.uint64)
    for row, (cube, slope, order) in enumerate(zip(above, slopes, orders, strict=True)):
        flips = tuple(slice(None, None, -1 if value < 0 else 1) for value in slope)
        turned = cube[flips].transpose(order).ravel()
        codes[row] = int.from_bytes(np.packbits(turned).tobytes(), "big")
    return codes


def _thumbnail(image: NDArray[Any]) -> NDArray[np.float32]:
    """Ranks of the means over equal boxes, less their own surroundings, of norm 1.

    Ranks, so that no bright structure outweighs the rest. Zeros where neighbours are all equal,
    and everywhere if what is left of a scan is one simple shape: two patients can share that.
    """
    first, second, third = (_box_means(size) for size in image.shape)
    means = np.zeros((THUMB, THUMB, THUMB), np.float32)
    for index, plane in enumerate(image):
        rows = np.flatnonzero(first[:, index])
        means[rows] += first[rows, index, None, None] * (second @ _finite(plane) @ third.T)
    low, high = np.percentile(means, [1, 99])
    step = float(high - low) / _LEVELS or 1.0  # noise in empty space must not make ranks
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


def _alike_thumbs(thumbs: Sequence[NDArray[np.float32]]) -> Iterator[tuple[int, int]]:
    """Pairs whose thumbnails correlate or are negatives, whatever the order of the axes."""
    if len(thumbs) < 2:
        return
    known = np.stack([thumb.ravel() for thumb in thumbs])
    total, few = known.sum(axis=0), len(known) < _SMALL_COHORT
    for turn in _array_turns():
        turned = np.stack([turn(thumb).ravel() for thumb in thumbs])
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


def _array_turns() -> list[Callable[[NDArray[Any]], NDArray[Any]]]:
    def turn(
        order: tuple[int, ...], flips: tuple[int, ...]
    ) -> Callable[[NDArray[Any]], NDArray[Any]]:
        return lambda thumb: thumb.transpose(order)[tuple(slice(None, None, f) for f in flips)]

    return [
        turn(order, flips)
        for order in itertools.permutations(range(3))
        for flips in itertools.product((1, -1), repeat=3)
    ]


def _shared_codes(scans: Sequence[Likeness]) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Pair of scans -> pairs of landmarks with one code, where there are enough."""
    holders: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, scan in enumerate(scans):
        for row, code in enumerate(scan.codes.tolist()):
            holders[code].append((number, row))
    shared: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for places in holders.values():
        if len(places) <= _COMMON:
            for (one, row), (other, column) in itertools.combinations(places, 2):
                if one != other:
                    shared[one, other].append((row, column))
    return {pair: matches for pair, matches in shared.items() if len(matches) >= _FEWEST}


def _lie_alike(one: Likeness, other: Likeness, matches: Sequence[tuple[int, int]]) -> bool:
    """Whether one shift, with one turn of the axes, brings the landmarks onto each other."""
    rows = np.array(matches)
    here, there = one.places[rows[:, 0]], other.places[rows[:, 1]]
    shifts = there - np.einsum("tij,mj->tmi", _TURNS, here)
    keys = np.sort(shifts @ _KEY, axis=1)
    # as many equal keys in a row as are needed, somewhere
    turns = np.flatnonzero((keys[:, _FEWEST - 1 :] == keys[:, : 1 - _FEWEST]).any(axis=1))
    for turn in turns:
        _, first, counts = np.unique(shifts[turn] @ _KEY, return_index=True, return_counts=True)
        moved = one.places @ _TURNS[turn].T + shifts[turn][first[counts.argmax()]]
        inside = (moved >= other.places.min(0)) & (moved <= other.places.max(0))
        if counts.max() >= _SHARE * inside.all(axis=1).sum():
            return True
    return False
