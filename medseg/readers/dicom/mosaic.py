"""Slices that Siemens MR scanners tile into one picture, a mosaic, put back where they lie.

The position in the header is that of the mosaic's corner, as if the whole picture were one slice
around the centre of the first. The number of tiles and the direction in which slices follow each
other stand in the vendor's private header (CSA).
"""

from __future__ import annotations

import math
import struct
from dataclasses import replace

import numpy as np

from medseg.readers.dicom.elements import Elements
from medseg.readers.dicom.frames import Frame, frame_of, marks_of
from medseg.readers.dicom.values import numbers, text

_IMAGE_TYPE, _COUNT = 0x00080008, 0x0019100A
_CREATORS = tuple(0x00290010 + block for block in range(4))
#: United Imaging tiles slices too, in a layout of its own.
_UIH_CREATOR, _UIH_COUNT = 0x00650010, 0x00651050
TAGS = (
    _IMAGE_TYPE,
    0x00190010,
    _COUNT,
    *_CREATORS,
    *(0x00291010 + (block << 8) for block in range(4)),
    _UIH_CREATOR,
    _UIH_COUNT,
)

#: Cosine between the vendor's slice normal and the one of rows and columns, at least.
_PARALLEL = 0.999


def applies(data: bytes, elements: Elements) -> bool:
    """Whether one picture holds several slices."""
    return "MOSAIC" in text(data, elements.get(_IMAGE_TYPE)).upper().split("\\") or (
        _uih_tiles(data, elements) > 1
    )


def _uih_tiles(data: bytes, elements: Elements) -> int:
    if not text(data, elements.get(_UIH_CREATOR)).upper().startswith("IMAGE PRIVATE HEADER"):
        return 0
    count = numbers(data, elements.get(_UIH_COUNT), b"DS")
    return int(count[0]) if count else 0


def frames(
    data: bytes, elements: Elements, *, rows: int, columns: int
) -> tuple[tuple[Frame, ...], str]:
    """The slices of a mosaic, and why it cannot be unpacked where it cannot."""
    csa = _csa(data, elements)
    counted = numbers(data, elements.get(_COUNT), b"US") or csa.get("NumberOfImagesInMosaic")
    normal = csa.get("SliceNormalVector", ())
    if not counted or not 1 <= counted[0] <= 4096 or len(normal) != 3:
        return (), (
            "a mosaic (several slices tiled into one picture) whose private header with "
            "the number and direction of slices is missing or of an unknown vendor"
        )
    count = int(counted[0])
    across = math.ceil(math.sqrt(count))
    whole = frame_of(data, [elements], marks_of(data, elements))
    if rows % across or columns % across:
        return (), f"a mosaic of {count} slices that do not tile {rows} x {columns} pixels"
    if whole.position is None or whole.orientation is None or whole.spacing is None:
        return (), "a mosaic without position, orientation or pixel spacing: no geometry"
    if not whole.between or whole.between <= 0:
        return (), "a mosaic that does not state the spacing between its slices"
    return _tiles(whole, count, (rows // across, columns // across), across, np.array(normal))


def _tiles(
    whole: Frame, count: int, size: tuple[int, int], across: int, normal: np.ndarray
) -> tuple[tuple[Frame, ...], str]:
    assert_placed = whole.position, whole.orientation, whole.spacing, whole.between
    position, orientation, spacing, between = assert_placed
    if position is None or orientation is None or spacing is None or between is None:
        return (), "a mosaic without geometry"
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    cosine = float(np.dot(np.cross(row, column), normal))
    if not _PARALLEL <= abs(cosine) <= 2 - _PARALLEL:
        return (), "a mosaic whose slice normal is not at right angles to its slices"
    first = (
        np.array(position)
        + row * spacing[1] * size[1] * (across - 1) / 2
        + column * spacing[0] * size[0] * (across - 1) / 2
    )
    step = np.cross(row, column) * math.copysign(between, cosine)
    tiles = []
    for k in range(count):
        x, y, z = (first + k * step).tolist()
        tile = (k // across * size[0], k % across * size[1], *size)
        tiles.append(replace(whole, position=(x, y, z), tile=tile))
    return tuple(tiles), ""


def _csa(data: bytes, elements: Elements) -> dict[str, tuple[float, ...]]:
    """The numbers wanted from the vendor's private image header."""
    for block, creator in enumerate(_CREATORS):
        if text(data, elements.get(creator)).upper() == "SIEMENS CSA HEADER":
            element = elements.get(0x00291010 + (block << 8))
            if element is not None:
                try:
                    return _csa_numbers(data[element.start : element.stop])
                except (struct.error, ValueError):
                    return {}
    return {}


def _csa_numbers(head: bytes) -> dict[str, tuple[float, ...]]:
    """Numbers by name from a CSA header of either version."""
    second = head[:4] == b"SV10"
    place = 8 if second else 0
    (count,) = struct.unpack_from("<I", head, place)
    place += 8
    wanted = ("NumberOfImagesInMosaic", "SliceNormalVector")
    numbers: dict[str, tuple[float, ...]] = {}
    first_items = 0
    for number in range(min(count, 1024)):
        name = head[place : place + 64].split(b"\0")[0].decode("latin-1")
        (item_count,) = struct.unpack_from("<i", head, place + 76)
        first_items = item_count if number == 0 else first_items
        place += 84
        values = []
        for _ in range(max(0, min(item_count, 4096))):
            lengths = struct.unpack_from("<4i", head, place)
            length = lengths[1] if second else lengths[0] - first_items
            place += 16
            if length < 0 or place + length > len(head):
                return numbers
            values.append(head[place : place + length].split(b"\0")[0].decode("latin-1").strip())
            place += (length + 3) // 4 * 4
        if name in wanted:
            numbers[name] = tuple(float(value) for value in values if value)
    return numbers
