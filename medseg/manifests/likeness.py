"""Recognises two copies of one scan however they were saved, and no two patients as one.

Three looks at the voxels, which miss different things:

- **landmarks**: voxels that stand out from their neighbours, each with a code of its
  surroundings that does not change with the scaling of values or the order and direction of the
  axes. Landmarks of equal codes that lie alike in two scans are the same voxels. A crop, another
  header, another number type or changed voxels leave most of them; interpolation does not.
- a **thumbnail** of the whole scan, see `medseg.manifests.thumbnails`. Resampling, smoothing and
  noise hardly change it; a crop does.
- **slices**, see `medseg.manifests.slice_marks`: a copy of some of them keeps their moments.

So none sees a scan that was cropped *and* resampled, resampled onto turned axes, or acquired
again.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.geometry import Geometry
from medseg.manifests.slice_marks import shared_slices
from medseg.manifests.thumbnails import alike_thumbnails, finite, thumbnail

#: Landmarks kept of a scan, the most prominent ones.
LANDMARKS = 400

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
    return Likeness(codes, places, thumbnail(canonical))


def same_scans(scans: Sequence[Likeness]) -> list[tuple[int, int]]:
    """Pairs that are one scan, the earlier one first; by thumbnails, slices or landmarks."""
    pairs = set(alike_thumbnails([scan.thumb for scan in scans]))
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
        part = finite(image[start - reach[0] : stop + reach[0]])
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


def _patches(image: NDArray[Any], places: NDArray[np.int64]) -> NDArray[np.float32]:
    """(N, 27) values about each place, (N, 9) in a flat image."""
    sides = [range(-r, r + 1) for r in _reach(image.shape)]
    steps = [np.array(step) for step in itertools.product(*sides)]
    return np.stack([finite(image[tuple((places + step).T)]) for step in steps], axis=1)


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
