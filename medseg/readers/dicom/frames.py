"""One plane of pixels: where it lies, and what distinguishes it from others at the same place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medseg.readers.dicom.elements import Element, Elements
from medseg.readers.dicom.values import NotANumber, numbers, text

_THICKNESS, _BETWEEN = 0x00180050, 0x00180088
_POSITION, _ORIENTATION, _SPACING = 0x00200032, 0x00200037, 0x00280030
_INTERCEPT, _SLOPE = 0x00281052, 0x00281053
#: Elements that place a frame or scale its values, by the name that messages give them.
GEOMETRY_TAGS = {
    _THICKNESS: "SliceThickness",
    _BETWEEN: "SpacingBetweenSlices",
    _POSITION: "ImagePositionPatient",
    _ORIENTATION: "ImageOrientationPatient",
    _SPACING: "PixelSpacing",
    _INTERCEPT: "RescaleIntercept",
    _SLOPE: "RescaleSlope",
}

Three = tuple[float, float, float]
Six = tuple[float, float, float, float, float, float]

#: Elements that may distinguish the volumes of one series, in the order of counting them.
CLASSIC_MARKS: dict[int, tuple[str, bytes]] = {
    0x00080008: ("image type", b"CS"),
    0x00181210: ("kernel", b"SH"),
    0x00180086: ("echo", b"IS"),
    0x00180081: ("echo time", b"DS"),
    0x00180082: ("inversion time", b"DS"),
    0x00181314: ("flip angle", b"DS"),
    0x00180080: ("repetition time", b"DS"),
    0x00189087: ("b-value", b"FD"),
    0x00200100: ("time point", b"IS"),
    0x00200012: ("acquisition", b"IS"),
    0x00181060: ("trigger time", b"DS"),
    0x00541300: ("frame time", b"DS"),
    0x00080032: ("acquisition time", b"TM"),
    0x00080033: ("content time", b"TM"),
}
#: A mark that says no more than whether two images agree in what a series shares.
EXAMINATION = "examination"
_TEXT_VRS = (b"CS", b"SH", b"TM", b"LO")

Marks = tuple[tuple[str, float | str], ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """One plane of pixels.

    Attributes:
        index: which frame of its file.
        position: centre of the first pixel, LPS mm, or ``None``.
        orientation: direction cosines of a row, then of a column, LPS, or ``None``.
        spacing: mm between rows, then between columns, or ``None``.
        thickness: mm, or ``None``.
        between: mm between slices as the header claims, or ``None``.
        slope: of the modality LUT.
        intercept: of the modality LUT.
        rescaled: the file gives both of them.
        stack: the stack it belongs to, where the file says.
        marks: what may distinguish it from other frames at the same place.
        tile: first row, first column, rows, columns within a mosaic, or ``None``.
    """

    index: int
    position: Three | None
    orientation: Six | None
    spacing: tuple[float, float] | None
    thickness: float | None = None
    between: float | None = None
    slope: float = 1.0
    intercept: float = 0.0
    rescaled: bool = True
    stack: str = ""
    marks: Marks = ()
    tile: tuple[int, int, int, int] | None = None


def frame_of(
    data: bytes, places: Sequence[Elements], marks: Marks, *, index: int = 0, stack: str = ""
) -> Frame:
    """A frame from the elements that describe it; the first place that knows one wins.

    Raises:
        NotANumber: a value that places or scales the frame cannot be read.
    """

    def several(tag: int, count: int) -> tuple[float, ...] | None:
        try:
            values = numbers(data, _first(places, tag), b"DS")
        except NotANumber as error:
            raise NotANumber(f"{GEOMETRY_TAGS[tag]} cannot be read: {error}") from None
        if values is not None and len(values) != count:
            raise NotANumber(f"{GEOMETRY_TAGS[tag]} has {len(values)} numbers, not {count}")
        return values

    def one(tag: int) -> float | None:
        values = several(tag, 1)
        return None if values is None else values[0]

    position, orientation, spacing = (
        several(_POSITION, 3),
        several(_ORIENTATION, 6),
        several(_SPACING, 2),
    )
    slope, intercept = one(_SLOPE), one(_INTERCEPT)
    thickness, between = _claims(data, places)
    return Frame(
        index=index,
        position=None if position is None else (position[0], position[1], position[2]),
        orientation=orientation,  # type: ignore[arg-type]
        spacing=None if spacing is None else (spacing[0], spacing[1]),
        thickness=thickness,
        between=between,
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        rescaled=slope is not None and intercept is not None,
        stack=stack,
        marks=marks,
    )


def _claims(data: bytes, places: Sequence[Elements]) -> tuple[float | None, float | None]:
    """Thickness and distance of slices, which a stack of several can do without."""
    try:
        thickness, between = (
            numbers(data, _first(places, tag), b"DS") for tag in (_THICKNESS, _BETWEEN)
        )
    except NotANumber:
        return None, None
    return _single(thickness), _single(between)


def _single(values: tuple[float, ...] | None) -> float | None:
    return values[0] if values is not None and len(set(values)) == 1 else None


def _first(places: Sequence[Elements], tag: int) -> Element | None:
    return next((place[tag] for place in places if tag in place), None)


def mark(data: bytes, element: Element | None, vr: bytes) -> float | str | None:
    """A value that may distinguish volumes: a number, or text."""
    if element is None or element.start == element.stop:
        return None
    if vr in _TEXT_VRS:
        return text(data, element)[:128]
    try:
        values = numbers(data, element, vr)
    except NotANumber:
        return text(data, element)[:128]
    return None if values is None else values[0]


def marks_of(data: bytes, elements: Elements) -> Marks:
    """What may distinguish a classic single-frame image from others at the same place."""
    known = ((name, mark(data, elements.get(tag), vr)) for tag, (name, vr) in CLASSIC_MARKS.items())
    return tuple((name, value) for name, value in known if value is not None)
