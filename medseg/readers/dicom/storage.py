"""How a data set stores its pixels, and whether all of them are there."""

from __future__ import annotations

from medseg.readers.dicom.classes import Syntax
from medseg.readers.dicom.elements import PIXEL_TAGS, Elements
from medseg.readers.dicom.file import Pixels
from medseg.readers.dicom.values import NotANumber, numbers, text

ROWS = 0x00280010
_COLUMNS = 0x00280011
_SAMPLES = 0x00280002
_FRAMES = 0x00280008
_ALLOCATED = 0x00280100
_STORED = 0x00280101
_HIGH_BIT = 0x00280102
_SIGNED = 0x00280103
_PADDING = 0x00280120
_PHOTOMETRIC = 0x00280004
_LUT = 0x00283000

#: The numbers among them, by the name that messages give them.
_COUNTS = {
    _SAMPLES: "SamplesPerPixel",
    _FRAMES: "NumberOfFrames",
    ROWS: "Rows",
    _COLUMNS: "Columns",
    _ALLOCATED: "BitsAllocated",
    _STORED: "BitsStored",
    _HIGH_BIT: "HighBit",
    _SIGNED: "PixelRepresentation",
    _PADDING: "PixelPaddingValue",
}
#: What is assumed where one of them is missing.
_ASSUMED = {
    "BitsStored": "all bits of the stored numbers are taken to count",
    "PixelRepresentation": "the stored numbers are taken as unsigned",
}
TAGS = (*_COUNTS, _PHOTOMETRIC, _LUT)


def pixels_of(data: bytes, elements: Elements, syntax: Syntax) -> Pixels | None:
    """What the data set says of its pixels; ``None`` where it has none.

    Raises:
        NotANumber: an element that should be a number is none.
    """
    tag = next((tag for tag in PIXEL_TAGS if tag in elements), None)
    if tag is None:
        return None

    def count(tag: int, absent: int, vr: bytes = b"US") -> int:
        value = _number(data, elements, tag, vr)
        if value is not None and not value.is_integer():
            raise NotANumber(f"{_COUNTS[tag]} is {value:g}, no whole number")
        return absent if value is None else int(value)

    element, form = elements[tag], PIXEL_TAGS[tag]
    allocated = count(_ALLOCATED, 0)
    stored = count(_STORED, allocated)
    signed = count(_SIGNED, 0)  # what other readers assume where it is missing
    if signed not in (0, 1):
        raise NotANumber(f"PixelRepresentation is {signed}, neither 0 nor 1")
    if form != "integer":
        allocated = stored = 32 if form == "float32" else 64
    return Pixels(
        rows=count(ROWS, 0),
        columns=count(_COLUMNS, 0),
        frames=count(_FRAMES, 1, b"IS"),
        samples=count(_SAMPLES, 1),
        photometric=text(data, elements.get(_PHOTOMETRIC)).upper(),
        form=form,
        allocated=allocated,
        stored=stored,
        high_bit=count(_HIGH_BIT, stored - 1),
        signed=signed == 1,
        syntax=syntax.uid,
        big=element.encoding.big,
        offset=element.start,
        length=element.length,
        padding=_wrap(_number(data, elements, _PADDING, b"SS" if signed else b"US"), signed == 1),
        lut=_LUT in elements,
        assumed=_missing(data, elements) if form == "integer" else (),
    )


def problem_of(pixels: Pixels | None, syntax: Syntax, file_bytes: int) -> str:
    """Why the pixels cannot be read; empty where they can."""
    if pixels is None:
        return "no pixel data: the file is truncated or damaged"
    if min(pixels.rows, pixels.columns, pixels.frames, pixels.samples) < 1:
        return (
            f"corrupt: the matrix is {pixels.rows} rows x {pixels.columns} columns x "
            f"{pixels.frames} frames, {pixels.samples} samples a pixel"
        )
    if not syntax.supported:
        return f"unsupported transfer syntax {syntax.uid[:64]}: cannot be decoded"
    if (
        pixels.form == "integer"
        and pixels.samples == 1
        and (
            pixels.allocated not in (8, 16, 32)
            or not 1 <= pixels.stored <= pixels.high_bit + 1 <= pixels.allocated
        )
    ):
        return (
            f"unsupported pixels: {pixels.stored} bits stored in {pixels.allocated} "
            f"allocated, high bit {pixels.high_bit}"
        )
    return "" if pixels.samples > 1 else _length_problem(pixels, syntax, file_bytes)


def remarks_on(pixels: Pixels, syntax: Syntax) -> list[str]:
    """What is accepted of the pixels but should be said."""
    remarks = []
    if pixels.length is not None:
        surplus = pixels.length - pixels.frame_bytes * pixels.frames
        if surplus > 1:
            remarks.append(f"the pixel data is {surplus} bytes longer than the header promises")
        if syntax.compressed:
            remarks.append("the pixels are not compressed, whatever the transfer syntax says")
    return remarks + [f"no {name}: {_ASSUMED[name]}" for name in pixels.assumed if name in _ASSUMED]


def _length_problem(pixels: Pixels, syntax: Syntax, file_bytes: int) -> str:
    """Why the pixel data is not what the header promises; empty where it is."""
    expected = pixels.frame_bytes * pixels.frames
    if pixels.length is None:
        if not syntax.compressed:
            return "corrupt: pixel data in fragments under an uncompressed transfer syntax"
        return "truncated: the pixel data is missing" if pixels.offset >= file_bytes else ""
    length = pixels.length
    if not syntax.deflated:
        length = min(length, file_bytes - pixels.offset)
    matrix = (
        f"({pixels.rows} rows x {pixels.columns} columns x {pixels.frames} frames of "
        f"{pixels.allocated} bits)"
    )
    if length < expected and not syntax.compressed:
        return f"truncated: {length} bytes of pixel data, expected {expected} {matrix}"
    if length >= expected + pixels.frame_bytes:
        return (
            f"ambiguous: {length} bytes of pixel data, at least a frame more than the "
            f"{expected} that the header promises {matrix}"
        )
    return ""


def _number(data: bytes, elements: Elements, tag: int, vr: bytes) -> float | None:
    try:
        values = numbers(data, elements.get(tag), vr)
    except NotANumber as error:
        raise NotANumber(f"{_COUNTS[tag]} cannot be read: {error}") from None
    if values is not None and len(set(values)) > 1:
        raise NotANumber(f"{_COUNTS[tag]} has {len(values)} numbers, not 1")
    return None if values is None else values[0]


def _missing(data: bytes, elements: Elements) -> tuple[str, ...]:
    """Names of the elements that should say what the bits of a number are, and do not."""
    tags = (_STORED, _HIGH_BIT, _SIGNED)
    return tuple(_COUNTS[tag] for tag in tags if _number(data, elements, tag, b"US") is None)


def _wrap(padding: float | None, signed: bool) -> int | None:
    """The padding value in the pixels' own representation, whatever VR it was written with."""
    if padding is None:
        return None
    value = int(padding)
    if signed and 0x8000 <= value <= 0xFFFF:
        return value - 0x10000
    return value + 0x10000 if not signed and -0x8000 <= value < 0 else value
