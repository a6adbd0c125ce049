"""A case slice by slice: a column of slices as a JPEG, and their labels as a PNG.

Both have the same slices one under the other, so that a page can show one of them and paint any
of its labels over it without reading a file but these two.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medseg.labels import LabelTable

#: Slices of a case: enough to scroll through, few enough for thousands of cases.
MOST_SLICES = 24
#: Longest side of a slice.
LONGEST = 288
#: Slices beyond the mask on each side, as a share of its extent.
_MARGIN = 0.15
_QUALITY = 70


@dataclass(frozen=True)
class Slices:
    """Slices of one case, each `size` pixels, one under the other.

    Attributes:
        scan: a grey JPEG; its comment says what :func:`column_of` reads.
        labels: a grey PNG: 0 for background, else the label's place in its table, from 1.
    """

    scan: bytes
    labels: bytes


def chosen_slices(labels: NDArray[Any], axis: int, number: int) -> list[int]:
    """Indices of slices through the mask and a little more; through everything where it is empty.

    >>> mask = np.zeros((2, 2, 40), bool)
    >>> mask[:, :, 10:30] = True
    >>> chosen_slices(mask, 2, 5)
    [7, 13, 20, 26, 32]
    """
    others = tuple(other for other in range(3) if other != axis)
    found = np.flatnonzero((labels > 0).any(axis=others))
    last = labels.shape[axis] - 1
    low, high = (int(found[0]), int(found[-1])) if found.size else (0, last)
    more = _MARGIN * (high - low + 1)
    low, high = max(0, round(low - more)), min(last, round(high + more))
    return sorted({round(index) for index in np.linspace(low, high, min(number, high - low + 1))})


def slices_of(
    scan: NDArray[np.uint8],
    labels: NDArray[Any],
    size: tuple[int, int],
    table: LabelTable | None,
    edges: str = "",
) -> Slices:
    """Draw slices that were cut already.

    Args:
        scan: (slices, rows, columns) shades of grey.
        labels: (slices, rows, columns) values of the mask, at its own resolution.
        size: columns and rows of a slice as drawn, with square pixels.
        table: whose order numbers the labels; values beyond 255 labels share the last number.
        edges: letters of what lies to the left and at the top of a slice, such as ``RA``.
    """
    return Slices(
        _jpeg(_column(scan, size, Image.Resampling.BILINEAR), f"{len(scan)} {edges}".strip()),
        _png(_places_as_drawn(labels, size, table)),
    )


def outlines_of(labels: NDArray[Any], size: tuple[int, int], table: LabelTable | None) -> bytes:
    """The labels of slices as :func:`slices_of` draws them, but their outermost pixels alone."""
    drawn = _places_as_drawn(labels, size, table).reshape(len(labels), size[1], size[0])
    edge = np.zeros(drawn.shape, dtype=bool)
    for axis in (1, 2):
        differs = np.diff(drawn.astype(np.int16), axis=axis) != 0
        before, after = [slice(None)] * 3, [slice(None)] * 3
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        edge[tuple(before)] |= differs
        edge[tuple(after)] |= differs
    return _png((drawn * edge).reshape(-1, size[0]))


def _places(labels: NDArray[Any], table: LabelTable | None) -> NDArray[np.uint8]:
    """Each value's place in the table, from 1; 0 for what the table does not have."""
    places = np.zeros(labels.shape, np.uint8)
    values = sorted(table.values) if table else []
    if not values:
        return places
    order = {label.value: min(255, n) for n, label in enumerate(table.labels if table else (), 1)}
    known = np.array(values)
    near = np.searchsorted(known, labels).clip(max=len(known) - 1)
    hit = known[near] == labels
    places[hit] = np.array([order[value] for value in values], np.uint8)[near[hit]]
    return places


def _places_as_drawn(
    labels: NDArray[Any], size: tuple[int, int], table: LabelTable | None
) -> NDArray[np.uint8]:
    return _column(_places(labels, table), size, Image.Resampling.NEAREST)


def _column(
    slices: NDArray[np.uint8], size: tuple[int, int], resampling: Image.Resampling
) -> NDArray[np.uint8]:
    """The slices one under the other, each of `size` columns and rows."""
    return np.concatenate(
        [np.asarray(Image.fromarray(each).resize(size, resampling)) for each in slices]
    )


def _jpeg(column: NDArray[np.uint8], comment: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(column).save(stream, "JPEG", quality=_QUALITY, comment=comment.encode())
    return stream.getvalue()


def _png(column: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(column).save(stream, "PNG")
    return stream.getvalue()


class Column(NamedTuple):
    """What a column of slices says of itself.

    Attributes:
        number: of slices; 0 where the file does not say.
        edges: letters of what lies to the left and at the top of each; empty likewise.
    """

    number: int
    edges: str


def column_of(jpeg: Any) -> Column:
    """What the scan's file says of its slices.

    Args:
        jpeg: a path or a binary stream.
    """
    try:
        with Image.open(jpeg) as image:
            number, _, edges = image.info.get("comment", b"0").decode().partition(" ")
            return Column(int(number), edges)
    except (OSError, ValueError):
        return Column(0, "")
