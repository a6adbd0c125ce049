"""How large, how cut and how broken up structures are, and how far a mask may leave what is usual.

Flags compare a mask with the truths that its model was trained on. What is usual is learnt so that
the training cases themselves would hardly be flagged: each is compared with all others, and the
limits are widened by what it takes for all but two in a hundred of them to pass.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.geometry import Frame, Geometry, role_order
from medseg.labels import LabelTable
from medseg.model.card import Limits

#: A structure is cut where its area on a face of the scan is this share of its largest section.
CUT_SHARE = 0.25
#: Another component is large when it holds this share of the largest one's voxels.
PIECE_SHARE = 0.2
#: A volume may leave the training range by these factors, whatever was learnt.
VOLUME_MARGIN = (0.8, 1.25)
#: From fewer training cases nothing is learnt about what is usual.
ENOUGH_CASES = 4
#: Share of training cases that must pass the limits that the others set.
PASSING_SHARE = 0.98
#: The fewer the cases, the less their extremes say of those to come: of so many, limits lie twice
#: as far beyond what was seen.
FEW_CASES = 12
#: Volumes of a label vary by at least this much (standard deviation of the logarithm).
LEAST_SPREAD = 0.05
#: Components are counted on every second voxel beyond this size, to bound memory.
MANY_VOXELS = 30_000_000

#: What holds where nothing was learnt; the volume is then judged by the training range.
USUAL = Limits(volume_ml=(0.0, float(np.finfo(np.float32).max)), cuts=(CUT_SHARE,) * 6, pieces=1)


@dataclass(frozen=True)
class Structure:
    """One label of one mask.

    Attributes:
        volume_ml: 0 where it is absent.
        cuts: area on each face of the scan as a share of the largest section parallel to it,
            0-1; low and high end of each working axis (in plane, in plane, through plane).
        pieces: large components.
    """

    volume_ml: float = 0.0
    cuts: tuple[float, ...] = (0.0,) * 6
    pieces: int = 0


def measure(
    mask: NDArray[Any], grid: Geometry, labels: LabelTable, frame: Frame | None = None
) -> dict[str, Structure]:
    """Every label of a mask, by name; absent ones too.

    Args:
        mask: (X, Y, Z) label values.
        grid: that it lies on.
        labels: what the values mean.
        frame: of the plan, which orders the axes.
    """
    order = role_order(grid.shape, grid.spacing_mm, grid.directions, frame)
    highest = max(labels.values)
    boxes = _boxes(mask, highest)
    structures = {}
    for label in labels.labels:
        box = boxes[label.value - 1]
        if box is None:
            structures[label.name] = Structure()
            continue
        part = mask[box] == label.value
        ml = int(part.sum()) * grid.voxel_ml
        cuts = _cuts(part, box, mask.shape, order)
        structures[label.name] = Structure(ml, cuts, _large_pieces(part))
    return structures


def _boxes(mask: NDArray[Any], highest: int) -> list[tuple[slice, ...] | None]:
    """The bounding box of each label; looked for in the order in which the mask lies in memory."""
    order = sorted(range(3), key=lambda axis: -abs(mask.strides[axis]))
    boxes: Sequence[tuple[slice, ...] | None] = ndimage.find_objects(
        mask.transpose(order), max_label=highest
    )
    home = [order.index(axis) for axis in range(3)]
    return [None if box is None else tuple(box[at] for at in home) for box in boxes]


def learn_limits(cases: Sequence[Mapping[str, Structure]]) -> dict[str, Limits]:
    """What is usual for each label, from the structures of training truths.

    Args:
        cases: by label; a label that a truth was not drawn for is left out of its mapping.

    Returns:
        Nothing where there are too few cases, or no structure in any.
    """
    names = sorted({name for case in cases for name, it in case.items() if it.volume_ml > 0})
    if len(cases) < ENOUGH_CASES or not names:
        return {}
    cuts = np.full((len(cases), len(names), 6), np.nan)
    pieces, logs = (np.full((len(cases), len(names)), np.nan) for _ in range(2))
    for (row, case), (column, name) in itertools.product(enumerate(cases), enumerate(names)):
        it = case.get(name)
        if it is not None and it.volume_ml > 0:
            cuts[row, column], pieces[row, column] = it.cuts, it.pieces
            logs[row, column] = np.log(it.volume_ml)
    cut_limits = _limits(np.maximum(cuts, CUT_SHARE))
    piece_limits = _limits(np.maximum(pieces, 1))
    spread = np.maximum(np.nanstd(logs, axis=0), LEAST_SPREAD)
    low, high = (np.log(margin) for margin in VOLUME_MARGIN)
    lowest = -_limits(-logs / spread, -low / spread) * spread
    highest = _limits(logs / spread, high / spread) * spread
    absent = {name for case in cases for name, it in case.items() if it.volume_ml == 0}
    return {
        name: Limits(
            volume_ml=(
                0.0 if name in absent else _neat(np.exp(lowest[column])),
                _neat(np.exp(highest[column])),
            ),
            cuts=tuple(round(float(cut), 4) for cut in cut_limits[column]),
            pieces=int(piece_limits[column]),
        )
        for column, name in enumerate(names)
    }


def widest(limits: Sequence[Mapping[str, Limits]]) -> dict[str, Limits]:
    """Limits within which any of several models finds a structure usual."""
    names = sorted({name for each in limits for name in each})
    by_name = {name: [each[name] for each in limits if name in each] for name in names}
    return {
        name: Limits(
            volume_ml=(
                min(each.volume_ml[0] for each in own),
                max(each.volume_ml[1] for each in own),
            ),
            cuts=tuple(max(shares) for shares in zip(*(each.cuts for each in own), strict=True)),
            pieces=max(each.pieces for each in own),
        )
        for name, own in by_name.items()
    }


def _limits(values: NDArray[np.float64], margin: Any = 0.0) -> NDArray[np.float64]:
    """(cases, ...) to (...): the largest of all cases, a margin, and what most cases need besides.

    What a case needs is how far the farthest of its values lies above the others' and the margin.
    """
    known = np.where(np.isnan(values), -np.inf, values)
    largest = known.max(0)
    second = np.sort(known, axis=0)[-2]
    others = np.where(known == largest, second, largest)  # of two equal ones the other remains
    needed = np.where(np.isfinite(known) & np.isfinite(others), known - others - margin, 0.0)
    a_case = np.maximum(needed.reshape(len(values), -1).max(1), 0.0)
    slack = np.quantile(a_case, PASSING_SHARE, method="higher")
    return np.asarray(largest + (margin + slack) * (1 + FEW_CASES / len(values)))


def _cuts(
    part: NDArray[np.bool_],
    box: tuple[slice, ...],
    shape: tuple[int, ...],
    order: tuple[tuple[int, int, int], tuple[bool, bool, bool]],
) -> tuple[float, ...]:
    """Share of the largest section that lies on each face of the scan, by working axis."""
    shares: list[float] = []
    for axis, backwards in zip(*order, strict=True):
        areas = part.sum(axis=tuple(other for other in range(3) if other != axis))
        is_slice = shape[axis] == 1
        low = 0.0 if is_slice or box[axis].start > 0 else float(areas[0] / areas.max())
        high = 0.0 if is_slice or box[axis].stop < shape[axis] else float(areas[-1] / areas.max())
        shares += [high, low] if backwards else [low, high]
    return tuple(round(share, 4) for share in shares)


def _large_pieces(part: NDArray[np.bool_]) -> int:
    if part.size > MANY_VOXELS:
        part = part[::2, ::2, ::2]
    pieces, count = ndimage.label(part, structure=np.ones((3, 3, 3)))
    if count <= 1:
        return int(count)
    sizes = np.bincount(pieces.ravel())[1:]
    return int((sizes >= PIECE_SHARE * sizes.max()).sum())


def _neat(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")
