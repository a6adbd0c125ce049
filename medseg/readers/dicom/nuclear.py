"""Where the slices of a nuclear medicine reconstruction lie, whose geometry its detector carries.

PS3.3, C.8.4.15: the first slice lies where the detector's item says; the others follow it along
the normal, a SpacingBetweenSlices apart, whose sign is the direction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medseg.readers.dicom.elements import Elements, items
from medseg.readers.dicom.frames import GEOMETRY_TAGS, Frame, Marks, frame_of, marks_of
from medseg.readers.dicom.values import NotANumber, numbers, text

_CLASS = "1.2.840.10008.5.1.4.1.1.20"
_IMAGE_TYPE = 0x00080008
_DETECTORS, _SLICES = 0x00540022, 0x00540080
#: Vectors that count what one slice is seen several times in.
_TELLING = {
    0x00540010: "energy window",
    0x00540060: "R-R interval",
    0x00540070: "time slot",
    0x00540100: "time slice",
}
TAGS = (_IMAGE_TYPE, _DETECTORS, _SLICES, *_TELLING)

#: Image types whose frames are pictures from outside, no slices.
_PLANAR = frozenset(("STATIC", "DYNAMIC", "GATED", "WHOLE BODY", "TOMO", "GATED TOMO"))


def not_a_volume(data: bytes, elements: Elements, sop_class: str) -> str:
    """What a nuclear medicine image is where it holds no slices; else empty."""
    kind = _kind(data, elements)
    if sop_class == _CLASS and kind in _PLANAR:
        return f"a planar nuclear medicine image ({kind}), not a volume"
    return ""


def applies(data: bytes, elements: Elements, sop_class: str) -> bool:
    """Whether the detector carries the geometry of slices."""
    return sop_class == _CLASS and (
        _DETECTORS in elements or _kind(data, elements).startswith("RECON")
    )


def _kind(data: bytes, elements: Elements) -> str:
    return "".join(text(data, elements.get(_IMAGE_TYPE)).upper().split("\\")[2:3]).strip()


def frames(data: bytes, elements: Elements, *, count: int) -> tuple[tuple[Frame, ...], str]:
    """The slices of a reconstruction, and why they cannot be placed where they cannot.

    Raises:
        Cut, NotDicom: a sequence is damaged.
        NotANumber: a value that places or scales a frame cannot be read.
    """
    detectors = items(data, elements.get(_DETECTORS), wanted=frozenset(GEOMETRY_TAGS))
    firsts = {
        frame_of(data, [item, elements], marks_of(data, elements)) for item in detectors or [{}]
    }
    if len(firsts) > 1:
        return (), "several detectors with a geometry of their own: no single volume"
    first = firsts.pop()
    numbered = _vector(data, elements, _SLICES, count)
    if numbered is None:
        numbered = list(range(1, count + 1))
    if first.position is None or first.orientation is None:
        return (), "no ImagePositionPatient and ImageOrientationPatient: no geometry"
    if max(numbered) > 1 and not (first.between and math.isfinite(first.between)):
        return (), "slices of a reconstruction without a usable SpacingBetweenSlices: no geometry"
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    vectors = {name: _vector(data, elements, tag, count) for tag, name in _TELLING.items()}
    slices = []
    for index, number in enumerate(numbered):
        x, y, z = (
            np.array(first.position) + normal * (first.between or 0.0) * (number - 1)
        ).tolist()
        marks: Marks = tuple(
            (name, float(vector[index])) for name, vector in vectors.items() if vector is not None
        )
        slices.append(replace(first, index=index, position=(x, y, z), marks=first.marks + marks))
    return tuple(slices), ""


def _vector(data: bytes, elements: Elements, tag: int, count: int) -> Sequence[int] | None:
    """One number a frame, from 1; ``None`` where the file has none.

    Raises:
        NotANumber: there are more or fewer, or something else stands there.
    """
    values = numbers(data, elements.get(tag), b"US")
    if values is None:
        return None
    if len(values) != count or min(values) < 1 or not all(map(float.is_integer, values)):
        raise NotANumber(f"a vector over the frames has {len(values)} numbers for {count} frames")
    return [int(value) for value in values]
