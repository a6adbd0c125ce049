"""Changes of a mask by hand: paint, fill between slices, islands, labels exchanged.

Every tool looks at a mask and gives a :class:`Change`; nothing is changed here. A change is
applied, kept and undone as a whole.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.errors import BadConfig
from medseg.geometry import Geometry
from medseg.pictures import Plane
from medseg.postprocess import TOUCHING
from medseg.review.planes import canonical_shape, require_position, voxels

Mask = NDArray[Any]

#: Voxels counted in one go.
_PART = 1 << 22


@dataclass(frozen=True, eq=False)
class Change:
    """New values of some voxels.

    Attributes:
        voxels: flat numbers (C order) in the (X, Y, Z) mask, ascending.
        values: what each becomes.
    """

    voxels: NDArray[np.int64]
    values: NDArray[np.uint16]

    def apply(self, mask: Mask) -> Change:
        """Change a mask in place, however it lies in memory.

        Returns:
            The change that undoes this one.
        """
        where = np.unravel_index(self.voxels, mask.shape)
        before = Change(self.voxels, mask[where].astype(np.uint16))
        mask[where] = self.values
        return before

    def to_bytes(self) -> bytes:
        """Compact, for the store."""
        steps = np.diff(self.voxels, prepend=0).astype("<i8")
        return zlib.compress(steps.tobytes() + self.values.astype("<u2").tobytes(), 1)

    @classmethod
    def from_bytes(cls, content: bytes) -> Change:
        """What :meth:`to_bytes` packed."""
        raw = zlib.decompress(content)
        count = len(raw) // 10
        steps = np.frombuffer(raw, "<i8", count)
        values = np.frombuffer(raw, "<u2", count, offset=8 * count)
        return cls(np.cumsum(steps), values.astype(np.uint16))


def differing(mask: Mask, where: NDArray[np.int64], value: int) -> Change:
    """The change that gives some voxels a value; those that have it already are left out."""
    where = np.unique(where)
    where = where[mask[np.unravel_index(where, mask.shape)] != value]
    return Change(where, np.full(where.size, value, np.uint16))


def numbers_of(inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Flat numbers (C order) of what is true, ascending."""
    numbers = np.ravel_multi_index(np.nonzero(inside), inside.shape)
    return np.sort(np.asarray(numbers, dtype=np.int64))


def paint(
    mask: Mask, geometry: Geometry, plane: Plane, position: int, runs: list[int], value: int
) -> Change:
    """Pixels of one picture get a value; 0 erases.

    Args:
        mask: (X, Y, Z).
        geometry: of the mask.
        plane: which plane the picture shows.
        position: of the cut.
        runs: start, length, start, length … of flat pixel numbers (C order) in the picture.
        value: the label's.

    Raises:
        BadConfig: pixels outside the picture.
    """
    pairs = np.asarray(runs, dtype=np.int64).reshape(-1, 2)
    sizes = canonical_shape(geometry)
    size = sizes[plane.across] * sizes[plane.up]
    if pairs.size and (pairs.min() < 0 or pairs.sum(axis=1).max() > size):
        raise BadConfig("pixels outside the picture", expected=f"numbers below {size}")
    if pairs[:, 1].sum() > size:
        raise BadConfig("more pixels than the picture has", expected=f"at most {size}")
    parts = [np.arange(start, start + length) for start, length in pairs]
    pixels = np.concatenate(parts) if parts else np.empty(0, np.int64)
    return differing(mask, voxels(pixels.astype(np.int64), geometry, plane, position), value)


def fill_between(mask: Mask, geometry: Geometry, plane: Plane, position: int, value: int) -> Change:
    """An empty slice between two drawn ones, and its empty neighbours, are filled.

    The signed distances to the outlines of the nearest drawn slices on both sides are interpolated
    (shape-based interpolation, doi:10.1109/42.52980). Only background is filled.

    Raises:
        BadConfig: the slice holds the label already, or one of the sides has no drawn slice.
    """
    require_position(geometry, plane, position)
    canonical = np.moveaxis(geometry.canonical(mask), plane.cut, 0)
    drawn = np.flatnonzero((canonical == value).any(axis=(1, 2)))
    below, above = drawn[drawn < position], drawn[drawn > position]
    if position in drawn or not below.size or not above.size:
        raise BadConfig(
            "nothing to fill between",
            found=f"{plane.name} slice {position}",
            expected="a slice without this label, with drawn slices on both sides of it",
        )
    low, high = int(below[-1]), int(above[0])
    axes = geometry.canonical_axes[0]
    spacing = [geometry.spacing_mm[axes[axis]] for axis in range(3) if axis != plane.cut]
    start, end = (_signed_mm(canonical[k] == value, spacing) for k in (low, high))
    found = np.zeros(mask.shape, dtype=bool, order="F" if mask.flags.f_contiguous else "C")
    target = np.moveaxis(geometry.canonical(found), plane.cut, 0)
    for k in range(low + 1, high):
        share = (k - low) / (high - low)
        target[k] = ((1 - share) * start + share * end > 0) & (canonical[k] == 0)
    return differing(mask, numbers_of(found), value)


def keep_largest(mask: Mask, value: int) -> Change:
    """Every island of a label but the largest becomes background."""
    islands, count = ndimage.label(mask == value, TOUCHING)
    sizes = np.bincount(islands.ravel(order="K"), minlength=count + 1)
    sizes[0] = 0
    others = (islands > 0) & (islands != int(sizes.argmax()))
    return differing(mask, numbers_of(others), 0)


def remove_island(mask: Mask, voxel: int) -> Change:
    """The island of one label that holds a voxel becomes background.

    Raises:
        BadConfig: the voxel is background.
    """
    place = np.unravel_index(voxel, mask.shape)
    value = int(mask[place])
    if value == 0:
        raise BadConfig("no island here", found="background")
    islands, _ = ndimage.label(mask == value, TOUCHING)
    return differing(mask, numbers_of(islands == islands[place]), 0)


def exchange(mask: Mask, one: int, other: int) -> Change:
    """Two labels change places everywhere."""
    where = numbers_of((mask == one) | (mask == other))
    now = mask[np.unravel_index(where, mask.shape)]
    return Change(where, np.where(now == one, other, one).astype(np.uint16))


def label_counts(mask: Mask) -> NDArray[np.int64]:
    """Voxels of every value from 0 on; in parts, since counting wants eight bytes a voxel."""
    flat = mask.ravel(order="K")
    counts = np.zeros(np.iinfo(mask.dtype).max + 1 if mask.dtype.itemsize < 4 else 1 << 16, int)
    for start in range(0, flat.size, _PART):
        part = flat[start : start + _PART]
        drawn = np.bincount(part[part != 0])
        counts[: drawn.size] += drawn
    counts[0] = flat.size - counts.sum()
    return counts


def _signed_mm(inside: NDArray[np.bool_], spacing: list[float]) -> NDArray[np.float64]:
    """Distance to the outline in mm, positive inside."""
    within = ndimage.distance_transform_edt(inside, sampling=spacing)
    outside = ndimage.distance_transform_edt(~inside, sampling=spacing)
    return np.asarray(within - outside, dtype=np.float64)
