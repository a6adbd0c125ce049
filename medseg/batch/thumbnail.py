"""A case at a glance: three planes with contours, as a small JPEG, and slices to scroll through.

Drawn without a plotting library, in a few milliseconds, for every case of a large batch. In
radiological convention: the patient's right, and in the sagittal plane the front, lies on the
left of the picture; up is anterior in the axial plane and superior in the others.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from medseg.batch.slices import LONGEST, MOST_SLICES, Slices, chosen_slices, slices_of
from medseg.contours import outlines
from medseg.ct_windows import WINDOWS, window_for
from medseg.geometry import canonical_grid
from medseg.labels.colours import distinct_colours
from medseg.volume import LabelMap, Volume

#: Height of the picture, and the widest that one plane may be.
HEIGHT, WIDEST = 256, 384
#: Of a scan with more voxels along an axis every second, third … is kept until it is drawn.
ENOUGH = 288
_GAP = 4
_QUALITY = 70
_LETTER = 13

#: Canonical axis cut, across (towards the left of the picture: right, front), up; the letter left.
_PLANES = ((2, 0, 1, "R"), (1, 0, 2, "R"), (0, 1, 2, "A"))


@dataclass(frozen=True)
class Depiction:
    """Pictures of one case.

    Attributes:
        planes: a JPEG of the axial, coronal and sagittal plane through the mask with contours,
            through the middle where the mask is empty.
        slices: from top to bottom of the mask, across the axis of the thickest voxels.
    """

    planes: bytes
    slices: Slices


def depiction(volume: Volume) -> Callable[[LabelMap], Depiction]:
    """Draws a scan's mask once it is there; until then a thinned copy of the scan is enough."""
    scan = volume.geometry.canonical(volume.data[0])
    steps = tuple(-(-n // ENOUGH) for n in scan.shape)
    thinned = scan[tuple(slice(step // 2, None, step) for step in steps)].copy()
    window = _window(thinned, volume)

    def drawn(mask: LabelMap) -> Depiction:
        names = mask.labels.names if mask.labels else ()
        ends = WINDOWS[window_for(names)] if window is None else window
        low, high = ((value - intercept) / slope for value in ends)  # as stored
        return Depiction(
            _drawn(thinned, steps, (low, high), mask), _slices(thinned, steps, (low, high), mask)
        )

    slope, intercept = volume.slope, volume.intercept
    return drawn


def _slices(
    thinned: NDArray[Any], steps: tuple[int, ...], window: tuple[float, float], mask: LabelMap
) -> Slices:
    labels = mask.geometry.canonical(mask.data)
    spacing = canonical_grid(mask.geometry).spacing_mm
    cut, across, up, _ = _scrolled(spacing)
    indices = chosen_slices(labels, cut, MOST_SLICES)
    near = [min(index // steps[cut], thinned.shape[cut] - 1) for index in indices]
    order = (cut, up, across)
    grey = _grey(thinned.transpose(order)[near], window)[:, ::-1, ::-1]
    marks = labels.transpose(order)[indices][:, ::-1, ::-1]
    extent_mm = [labels.shape[axis] * spacing[axis] for axis in (across, up)]
    longest = min(LONGEST, max(thinned.shape[across], thinned.shape[up]))
    columns, rows = (max(1, round(longest * mm / max(extent_mm))) for mm in extent_mm)
    return slices_of(np.ascontiguousarray(grey), marks, (columns, rows), mask.labels)


def _scrolled(spacing_mm: Sequence[float]) -> tuple[int, int, int, str]:
    """The plane that slices lie in: axial, or across voxels that are much thicker one way."""
    thickest = int(np.argmax(spacing_mm))
    is_thick = spacing_mm[thickest] > 1.5 * float(np.median(spacing_mm))
    return next(plane for plane in _PLANES if plane[0] == (thickest if is_thick else 2))


def _drawn(
    thinned: NDArray[Any], steps: tuple[int, ...], window: tuple[float, float], mask: LabelMap
) -> bytes:
    labels = mask.geometry.canonical(mask.data)
    spacing = canonical_grid(mask.geometry).spacing_mm
    colours = distinct_colours(mask.labels) if mask.labels else {}
    tiles = []
    for cut, across, up, letter in _PLANES:
        index = _best_index(labels, cut)
        near = min(index // steps[cut], thinned.shape[cut] - 1)
        # views: np.take would copy a whole array that does not lie in order
        plane, part = np.moveaxis(thinned, cut, 0)[near], np.moveaxis(labels, cut, 0)[index]
        tile = _tile(plane, part, (spacing[across], spacing[up]), window, colours)
        place, font = (3, tile.height // 2), ImageFont.load_default(_LETTER)
        ImageDraw.Draw(tile).text(place, letter, fill="#c8d0d6", font=font, anchor="lm")
        tiles.append(tile)
    return _joined(tiles)


def _best_index(labels: NDArray[Any], axis: int) -> int:
    """The plane in which the mask is largest; the middle one where it is empty."""
    areas = (labels > 0).sum(axis=tuple(other for other in range(3) if other != axis))
    return int(areas.argmax()) if areas.any() else labels.shape[axis] // 2


def _window(thinned: NDArray[Any], volume: Volume) -> tuple[float, float] | None:
    """The real-world values shown black and white; ``None`` for CT, where the labels choose."""
    step = max(1, round((thinned.size / 50_000) ** (1 / 3)))
    sample = thinned[::step, ::step, ::step] * np.float32(volume.slope) + volume.intercept
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return 0.0, 1.0
    low, high = np.percentile(sample, [1, 99])
    if volume.origin.modality == "CT" or low < -500:
        return None
    return float(low), float(max(high, low + 1e-6))


def _tile(
    shades: NDArray[Any],
    part: NDArray[Any],
    spacing_mm: tuple[float, float],
    window: tuple[float, float],
    colours: Mapping[int, str],
) -> Image.Image:
    """One plane; `shades` and `part` are (across, up); contours of `colours`' values."""
    # rows run downwards: superior or anterior first; columns towards the patient's left or back
    picture = Image.fromarray(_grey(shades, window).T[::-1, ::-1])
    size = _size(part.shape, spacing_mm)
    picture = picture.resize(size, Image.Resampling.BILINEAR).convert("RGB")
    rows = part.T[::-1, ::-1]
    pen = ImageDraw.Draw(picture)
    scale = np.array([size[1] / rows.shape[0], size[0] / rows.shape[1]])
    boxes: Sequence[tuple[slice, ...] | None] = (
        ndimage.find_objects(rows, max_label=max(colours)) if colours else ()
    )
    for value, colour in colours.items():
        if (box := boxes[value - 1]) is None:
            continue
        corner = [side.start for side in box]
        for line in outlines(rows[box] == value):
            points = ((line + corner + 0.5) * scale - 0.5)[:, ::-1]
            pen.line([(float(x), float(y)) for x, y in points], fill=colour, width=2)
    return picture


def _grey(shades: NDArray[Any], window: tuple[float, float]) -> NDArray[np.uint8]:
    low, high = window
    grey = np.clip((np.nan_to_num(shades) - low) / (high - low), 0, 1) * 255
    return np.asarray(grey, dtype=np.uint8)


def _size(shape: tuple[int, ...], spacing_mm: tuple[float, float]) -> tuple[int, int]:
    width_mm, height_mm = shape[0] * spacing_mm[0], shape[1] * spacing_mm[1]
    scale = min(HEIGHT / height_mm, WIDEST / width_mm)
    return max(1, round(width_mm * scale)), max(1, round(height_mm * scale))


def _joined(tiles: list[Image.Image]) -> bytes:
    width = sum(tile.width for tile in tiles) + _GAP * (len(tiles) - 1)
    whole = Image.new("RGB", (width, HEIGHT))
    left = 0
    for tile in tiles:
        whole.paste(tile, (left, (HEIGHT - tile.height) // 2))
        left += tile.width + _GAP
    stream = io.BytesIO()
    whole.save(stream, "JPEG", quality=_QUALITY, subsampling=0)
    return stream.getvalue()
