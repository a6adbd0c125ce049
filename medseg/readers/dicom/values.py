"""The text and the numbers in the elements of a DICOM data set."""

from __future__ import annotations

import math
import re
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medseg.readers.dicom.elements import Element

#: VRs whose value is text, numbers among it.
_TEXT = frozenset(b"AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split())
#: Of the others, the letter by which struct knows the number.
_BINARY = dict(zip(b"US SS UL SL FL FD UV SV".split(), "HhIifdQq", strict=True))
#: A number as text, by the standard but for a decimal comma and the unit that it counts in anyway.
_NUMBER = re.compile(
    r"([+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:e[+-]?\d+)?)(?: *(?:mm|hu))?", re.ASCII | re.IGNORECASE
)
#: "1,024" may be a little more than one, or a thousand.
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")
#: Longer than a unit is.
_WORDS = re.compile(r"[^\W\d_]{4,}")


class NotANumber(Exception):
    """A value is there that should be a number, and is none that can be read without a guess."""


def text(data: bytes, element: Element | None) -> str:
    """The value as text, blanks and nulls around it removed; empty where there is none."""
    if element is None:
        return ""
    return data[element.start : element.stop].decode("latin-1").strip(" \0\t\r\n")


def numbers(data: bytes, element: Element | None, vr: bytes) -> tuple[float, ...] | None:
    """The value as numbers; ``None`` where there is none, or a blank.

    Args:
        data: the bytes.
        element: the element, or ``None``.
        vr: what the dictionary says the VR is, for data sets that do not carry it.

    Raises:
        NotANumber: something stands there that is no number, or one of two.
    """
    if element is None:
        return None
    form = vr if element.vr not in _BINARY and element.vr not in _TEXT else element.vr
    if form not in _BINARY:
        written = text(data, element)
        return tuple(map(number_of, written.split("\\"))) if written else None
    size = struct.calcsize(_BINARY[form])
    count, rest = divmod(element.stop - element.start, size)
    if rest:
        raise NotANumber(f"{element.stop - element.start} bytes")
    order = element.encoding.order
    values = struct.unpack_from(f"{order}{count}{_BINARY[form]}", data, element.start)
    if not all(map(math.isfinite, values)):
        raise NotANumber("not a finite number")
    return tuple(map(float, values)) or None


def number_of(written: str) -> float:
    """One number as a DICOM header writes it.

    >>> number_of("-1024"), number_of(" 5e-1 "), number_of("0,75"), number_of("-1024 HU")
    (-1024.0, 0.5, 0.75, -1024.0)

    Raises:
        NotANumber: it is none, or may be one of two: ``1,024``. Words are not repeated: what
            stands in the wrong place may be a name.
    """
    match = _NUMBER.fullmatch(written.strip(" \0\t\r\n"))
    if match is None or _THOUSANDS.fullmatch(match[1]):
        raise NotANumber(repr(_WORDS.sub("…", written[:40])))
    value = float(match[1].replace(",", "."))
    if not math.isfinite(value):
        raise NotANumber(repr(_WORDS.sub("…", written[:40])))
    return value
