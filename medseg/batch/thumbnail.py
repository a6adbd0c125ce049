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

from medseg.batch.scrolling import PLANES, grey_of, slices_through, thinned_of, window_of
from medseg.batch.slices import Slices
from medseg.contours import outlines
from medseg.ct_windows import WINDOWS, window_for
from medseg.geometry import canonical_grid
from medseg.labels.colours import distinct_colours
from medseg.volume import LabelMap, Volume

#: Height of the picture, and the widest that one plane may be.
HEIGHT, WIDEST = 256, 384
_GAP = 4
_QUALITY = 70
_LETTER = 13


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
    thinned, steps = thinned_of(volume)
    window = window_of(thinned, volume)

    def drawn(mask: LabelMap) -> Depiction:
        names = mask.labels.names if mask.labels else ()
        ends = WINDOWS[window_for(names)] if window is None else window
        low, high = ((value - intercept) / slope for value in ends)  # as stored
        return Depiction(
            _drawn(thinned, steps, (low, high), mask),
            slices_through(thinned, steps, (low, high), mask),
        )

    slope, intercept = volume.slope, volume.intercept
    return drawn


def _drawn(
    thinned: NDArray[Any], steps: tuple[int, ...], window: tuple[float, float], mask: LabelMap
) -> bytes:
    labels = mask.geometry.canonical(mask.data)
    spacing = canonical_grid(mask.geometry).spacing_mm
    colours = distinct_colours(mask.labels) if mask.labels else {}
    tiles = []
    for cut, across, up, edges in PLANES:
        index = _best_index(labels, cut)
        near = min(index // steps[cut], thinned.shape[cut] - 1)
        # views: np.take would copy a whole array that does not lie in order
        plane, part = np.moveaxis(thinned, cut, 0)[near], np.moveaxis(labels, cut, 0)[index]
        tile = _tile(plane, part, (spacing[across], spacing[up]), window, colours)
        place, font = (3, tile.height // 2), ImageFont.load_default(_LETTER)
        ImageDraw.Draw(tile).text(place, edges[0], fill="#c8d0d6", font=font, anchor="lm")
        tiles.append(tile)
    return _joined(tiles)


def _best_index(labels: NDArray[Any], axis: int) -> int:
    """The plane in which the mask is largest; the middle one where it is empty."""
    areas = (labels > 0).sum(axis=tuple(other for other in range(3) if other != axis))
    return int(areas.argmax()) if areas.any() else labels.shape[axis] // 2


def _tile(
    shades: NDArray[Any],
    part: NDArray[Any],
    spacing_mm: tuple[float, float],
    window: tuple[float, float],
    colours: Mapping[int, str],
) -> Image.Image:
    """One plane; `shades` and `part` are (across, up); contours of `colours`' values."""
    # rows run downwards: superior or anterior first; columns towards the patient's left or back
    picture = Image.fromarray(grey_of(shades, window).T[::-1, ::-1])
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
