"""Rules that mend simple mistakes of a mask.

Every rule looks at one label at a time, in its own bounding box, so that memory does not grow
with the number of labels. Voxels that a rule takes away become background, and only background
is filled: no label ever takes a voxel from another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.config import PostprocessRule
from medseg.geometry import Box, Geometry
from medseg.geometry.precision import HEADER_PRECISION, reach_mm
from medseg.labels import LabelTable

Mask = NDArray[np.bool_]

#: Voxels of one component touch by a face, an edge or a corner.
TOUCHING = np.ones((3, 3, 3), dtype=bool)

#: Voxels that closing looks at in floating point at a time.
SLAB_VOXELS = 1 << 24


def apply_rules(
    mask: NDArray[Any], geometry: Geometry, labels: LabelTable, rules: Sequence[PostprocessRule]
) -> NDArray[Any]:
    """Clean a mask by rules, in their order.

    Args:
        mask: (X, Y, Z) integers.
        geometry: the grid they lie on.
        labels: names the labels that rules speak of.
        rules: see :class:`medseg.config.PostprocessRule`.

    Returns:
        A new array; the mask itself where there are no rules.

    Raises:
        BadLabels: a rule names an unknown label.
    """
    steps = [(rule, value) for rule in rules for value in _values(rule, labels)]
    for rule, _ in steps:
        if rule.rule == "inside":
            _outer(rule, labels)
    if not steps:
        return mask
    result = mask.copy()
    for rule, value in steps:
        _apply(result, geometry, labels, rule, value)
    return result


def _values(rule: PostprocessRule, labels: LabelTable) -> list[int]:
    if rule.label == "*":
        return list(labels.values)
    return [labels.value_of(rule.label)]


def _outer(rule: PostprocessRule, labels: LabelTable) -> int:
    return labels.value_of(rule.of or "")


def _apply(
    mask: NDArray[Any],
    geometry: Geometry,
    labels: LabelTable,
    rule: PostprocessRule,
    value: int,
) -> None:
    """Change one label in place."""
    spacing = geometry.spacing_mm
    reach = [int(np.ceil(rule.mm / mm)) + 1 for mm in spacing]
    box = _box(mask, value, reach)
    if box is None:
        return
    part = mask[box]
    if rule.rule == "close":
        _close(part, value, spacing, rule.mm)
    elif rule.rule == "fill_holes":
        _fill_holes(part, value)
    else:
        _drop_components(part, value, _judge(rule, geometry, labels, part))


def _box(mask: NDArray[Any], value: int, reach: Sequence[int]) -> Box | None:
    """The bounding box of a label with some voxels around it."""
    found = ndimage.find_objects(mask, max_label=value)
    if len(found) < value or found[value - 1] is None:
        return None
    x, y, z = (
        slice(max(0, side.start - more), min(size, side.stop + more))
        for side, more, size in zip(found[value - 1], reach, mask.shape, strict=True)
    )
    return x, y, z


#: (components, sizes in voxels) to the numbers of those that go.
Judge = Callable[[NDArray[Any], NDArray[np.int64]], NDArray[np.int64]]


def _judge(
    rule: PostprocessRule, geometry: Geometry, labels: LabelTable, part: NDArray[Any]
) -> Judge:
    if rule.rule == "keep_largest":
        return lambda components, sizes: _all_but_largest(sizes, rule.count)
    if rule.rule == "remove_small":
        least_ml = rule.ml * (1 - HEADER_PRECISION)
        return lambda components, sizes: 1 + np.flatnonzero(sizes * geometry.voxel_ml < least_ml)
    outer = _outer(rule, labels)
    return lambda components, sizes: _apart(components, part == outer, len(sizes))


def _all_but_largest(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    largest_first = np.argsort(-sizes, kind="stable")
    return largest_first[count:] + 1


def _apart(components: NDArray[Any], outer: Mask, count: int) -> NDArray[np.int64]:
    """Components that touch no voxel of the outer label."""
    beside = ndimage.binary_dilation(outer, TOUCHING)
    touching = np.unique(components[beside])
    return np.setdiff1d(np.arange(1, count + 1), touching)


def _drop_components(part: NDArray[Any], value: int, judge: Judge) -> None:
    components, count = _components(part == value, TOUCHING)
    sizes = _sizes(components, count)
    gone = np.zeros(count + 1, dtype=bool)
    gone[judge(components, sizes)] = True
    if gone.any():
        part[gone[components]] = 0


def _components(mask: Mask, structure: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Numbered components, in 16 bits where they suffice; scikit-image always takes 32."""
    numbers: NDArray[Any] = np.empty(mask.shape, dtype=np.uint16)
    try:
        return numbers, int(ndimage.label(mask, structure, output=numbers))
    except RuntimeError:  # more components than 16 bits can number
        wide = numbers.astype(np.int32)
        return wide, int(ndimage.label(mask, structure, output=wide))


def _sizes(components: NDArray[Any], count: int) -> NDArray[np.int64]:
    sizes = np.zeros(count + 1, dtype=np.int64)
    for plane in components:
        sizes += np.bincount(plane.ravel(), minlength=count + 1)
    return sizes[1:]


def _fill_holes(part: NDArray[Any], value: int) -> None:
    """Give the label the background that it encloses: what reaches no side of the box."""
    gaps, count = _components(part != value, ndimage.generate_binary_structure(3, 1))
    open_gaps = np.zeros(count + 1, dtype=bool)
    for axis, size in enumerate(part.shape):
        if size > 1:
            for side in (0, -1):
                open_gaps[np.unique(gaps.take(side, axis=axis))] = True
    open_gaps[0] = True  # the label itself
    part[~open_gaps[gaps] & (part == 0)] = value


def _close(part: NDArray[Any], value: int, spacing: Sequence[float], mm: float) -> None:
    """Fill background that a ball of radius `mm` cannot enter without touching the label.

    Beyond the scan lies background: the ball may come from there, so nothing grows to its edge.
    """
    mask = part == value
    closed = mask.copy()
    limit_mm = reach_mm(mm, min(spacing))
    reach = [int(np.ceil(mm / side)) + 1 for side in spacing]
    for own, seen in _slabs(part.shape, 2 * reach[0]):
        padded = np.pad(mask[seen], [(more, more) for more in reach])
        near = ndimage.distance_transform_edt(~padded, sampling=spacing) <= limit_mm
        deep = ndimage.distance_transform_edt(near, sampling=spacing) > limit_mm
        inner = deep[:, reach[1] : -reach[1], reach[2] : -reach[2]]
        first = reach[0] + own.start - seen.start
        closed[own] |= inner[first : first + own.stop - own.start]
    part[closed & (part == 0)] = value


def _slabs(shape: Sequence[int], halo: int) -> Iterator[tuple[slice, slice]]:
    """Parts along the first axis, each with what must be seen around it."""
    thickness = max(1, SLAB_VOXELS // max(1, int(np.prod(shape[1:]))))
    for start in range(0, shape[0], thickness):
        stop = min(shape[0], start + thickness)
        yield slice(start, stop), slice(max(0, start - halo), min(shape[0], stop + halo))
