"""Real-world value mappings: what the stored numbers of a parametric map mean.

PS3.3, C.7.6.16.2.11.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medseg.readers.dicom.elements import Elements, items
from medseg.readers.dicom.frames import Frame
from medseg.readers.dicom.values import NotANumber, numbers

#: Their values are defined by the mapping; in all other images it stands beside the modality LUT.
PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
MAPPING = 0x00409096
_INTERCEPT, _SLOPE, _TABLE = 0x00409224, 0x00409225, 0x00409212


def mapped(frame: Frame, data: bytes, places: Sequence[Elements]) -> Frame:
    """The frame with the slope and intercept of its mapping; the first place that has one wins.

    Raises:
        NotANumber: there are several mappings that differ, or one that is no straight line.
    """
    element = next((place[MAPPING] for place in places if MAPPING in place), None)
    mappings = items(data, element, wanted=frozenset((_INTERCEPT, _SLOPE, _TABLE)))
    lines = set()
    for item in mappings:
        try:
            slope, intercept = (numbers(data, item.get(tag), b"FD") for tag in (_SLOPE, _INTERCEPT))
        except NotANumber as error:
            raise NotANumber(f"the RealWorldValueMapping cannot be read: {error}") from None
        if _TABLE in item or slope is None or intercept is None:
            raise NotANumber(
                "the RealWorldValueMapping is incomplete, or a table, which is not read"
            )
        lines.add((slope[0], intercept[0]))
    if len(lines) > 1:
        raise NotANumber(f"{len(lines)} RealWorldValueMappings that differ")
    for slope_value, intercept_value in lines:
        return replace(frame, slope=slope_value, intercept=intercept_value, rescaled=True)
    return frame
