"""What does one DICOM data set say, as far as a volume can be built from it?"""

from __future__ import annotations

import re

from medseg.readers.dicom import enhanced, mosaic
from medseg.readers.dicom.classes import Syntax, must_have_geometry, not_a_volume
from medseg.readers.dicom.elements import (
    PIXEL_TAGS,
    Cut,
    Element,
    Elements,
    NotDicom,
    numbers,
    text,
)
from medseg.readers.dicom.file import FileHeader, Pixels, hashed
from medseg.readers.dicom.frames import CLASSIC_MARKS, GEOMETRY_TAGS, Frame, frame_of, marks_of
from medseg.readers.sources import Source

#: Words by which technologists name scout views.
_LOCALIZER_WORDS = re.compile(
    r"locali[sz]er|scout|survey|surview|topogram|scanogram|\b(3|three)[ _-]?pl(ane)?\b"
)

SOP_CLASS = 0x00080016
_INSTANCE = 0x00080018
_IMAGE_TYPE = 0x00080008
MODALITY = 0x00080060
_DESCRIPTION = 0x0008103E
_PROTOCOL = 0x00181030
STUDY = 0x0020000D
SERIES = 0x0020000E
_INSTANCE_NUMBER = 0x00200013
_FRAME_OF_REFERENCE = 0x00200052
_SAMPLES = 0x00280002
_PHOTOMETRIC = 0x00280004
_FRAMES = 0x00280008
_ROWS = 0x00280010
_COLUMNS = 0x00280011
_ALLOCATED = 0x00280100
_STORED = 0x00280101
_HIGH_BIT = 0x00280102
_SIGNED = 0x00280103
_PADDING = 0x00280120
_LUT = 0x00283000

#: Every top-level element that is looked at.
# fmt: off
WANTED = frozenset((
    SOP_CLASS, _INSTANCE, _IMAGE_TYPE, MODALITY, _DESCRIPTION, _PROTOCOL, STUDY, SERIES,
    _INSTANCE_NUMBER, _FRAME_OF_REFERENCE, _SAMPLES, _PHOTOMETRIC, _FRAMES, _ROWS, _COLUMNS,
    _ALLOCATED, _STORED, _HIGH_BIT, _SIGNED, _PADDING, _LUT, *GEOMETRY_TAGS, *CLASSIC_MARKS,
    *enhanced.TAGS, *mosaic.TAGS,
))
# fmt: on


class DatasetParser:
    """One data set's elements, on their way to a `FileHeader`."""

    def __init__(
        self, data: bytes, found: Elements, source: Source, syntax: Syntax, sop_class: str
    ) -> None:
        self.data, self.found, self.source, self.syntax = data, found, source, syntax
        self.sop_class = self._text(SOP_CLASS) or sop_class
        self.modality = self._text(MODALITY).upper()[:16]

    def header(self) -> FileHeader:
        """Everything that the file says."""
        pixels = self._pixels()
        skip = not_a_volume(self.sop_class, self.modality)
        if pixels is None and not skip and not self._should_have_pixels():
            skip = "no pixel data: not an image"
        problem = "" if skip else self._problem(pixels)
        frames: tuple[Frame, ...] = ()
        if not skip and not problem and pixels is not None:
            if pixels.samples > 1 or pixels.photometric.startswith(("RGB", "YBR", "PALETTE")):
                skip = f"a colour image (photometric interpretation {pixels.photometric[:16]})"
            else:
                frames, problem = self._frames(pixels)
        number = self._number(_INSTANCE_NUMBER, b"IS")
        return FileHeader(
            self.source,
            hashed(self._text(STUDY)),
            hashed(self._text(SERIES)),
            hashed(self._text(_INSTANCE)),
            hashed(self._text(_FRAME_OF_REFERENCE)),
            self.modality,
            self.sop_class,
            self._is_localizer(),
            None if number is None else int(number),
            pixels,
            frames,
            skip,
            problem,
            _notes(frames),
        )

    def _should_have_pixels(self) -> bool:
        """Whether an object of this kind, or one that tells a matrix, is an image."""
        return _ROWS in self.found or must_have_geometry(self.sop_class, self.modality)

    def _is_localizer(self) -> bool:
        if "LOCALIZER" in self._text(_IMAGE_TYPE).upper().split("\\"):
            return True
        described = self._text(_DESCRIPTION) or self._text(_PROTOCOL)
        return _LOCALIZER_WORDS.search(described.lower()) is not None

    def _frames(self, pixels: Pixels) -> tuple[tuple[Frame, ...], str]:
        try:
            if enhanced.applies(self.found):
                return enhanced.frames(self.data, self.found, count=pixels.frames)
            if mosaic.applies(self.data, self.found):
                return mosaic.frames(
                    self.data, self.found, rows=pixels.rows, columns=pixels.columns
                )
        except (Cut, NotDicom):
            return (), "corrupt: a sequence in the header cannot be read"
        if pixels.frames > 1:
            return (), (
                f"{pixels.frames} frames in one file without a position for each: "
                "no geometry (ImagePositionPatient)"
            )
        return (frame_of(self.data, [self.found], marks_of(self.data, self.found)),), ""

    def _problem(self, pixels: Pixels | None) -> str:
        if pixels is None:
            return "no pixel data: the file is truncated or damaged"
        if min(pixels.rows, pixels.columns, pixels.frames, pixels.samples) < 1:
            return (
                f"corrupt: the matrix is {pixels.rows} rows x {pixels.columns} columns x "
                f"{pixels.frames} frames, {pixels.samples} samples a pixel"
            )
        if not self.syntax.supported:
            return f"unsupported transfer syntax {self.syntax.uid[:64]}: cannot be decoded"
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
        return self._cut_short(pixels)

    def _cut_short(self, pixels: Pixels) -> str:
        expected = pixels.frame_bytes * pixels.frames
        if self.syntax.deflated or pixels.samples > 1:
            return ""
        if pixels.length is None or self.syntax.compressed:
            return (
                "truncated: the pixel data is missing"
                if (pixels.offset >= self.source.size)
                else ""
            )
        there = min(pixels.length, self.source.size - pixels.offset)
        if there < expected:
            return (
                f"truncated: {there} bytes of pixel data, expected {expected} "
                f"({pixels.rows} rows x {pixels.columns} columns x {pixels.frames} frames)"
            )
        return ""

    def _pixels(self) -> Pixels | None:
        tag = next((tag for tag in PIXEL_TAGS if tag in self.found), None)
        if tag is None:
            return None
        element: Element = self.found[tag]
        allocated = self._integer(_ALLOCATED, 0)
        stored = self._integer(_STORED, allocated)
        signed = self._integer(_SIGNED, 0) == 1
        form = PIXEL_TAGS[tag]
        if form != "integer":
            allocated = stored = 32 if form == "float32" else 64
        padding = self._number(_PADDING, b"SS" if signed else b"US")
        return Pixels(
            rows=self._integer(_ROWS, 0),
            columns=self._integer(_COLUMNS, 0),
            frames=self._integer(_FRAMES, 1, b"IS"),
            samples=self._integer(_SAMPLES, 1),
            photometric=self._text(_PHOTOMETRIC).upper(),
            form=form,
            allocated=allocated,
            stored=stored,
            high_bit=self._integer(_HIGH_BIT, stored - 1),
            signed=signed,
            syntax=self.syntax.uid,
            big=element.encoding.big,
            offset=element.start,
            length=element.length,
            padding=_wrap(padding, signed),
            lut=_LUT in self.found,
        )

    def _text(self, tag: int) -> str:
        return text(self.data, self.found.get(tag))

    def _number(self, tag: int, vr: bytes) -> float | None:
        values = numbers(self.data, self.found.get(tag), vr)
        return None if values is None else values[0]

    def _integer(self, tag: int, absent: int, vr: bytes = b"US") -> int:
        value = self._number(tag, vr)
        return absent if value is None else int(value)


def _notes(frames: tuple[Frame, ...]) -> tuple[str, ...]:
    if frames and frames[0].tile is not None:
        return (f"a mosaic was unpacked into {len(frames)} slices",)
    return ()


def _wrap(padding: float | None, signed: bool) -> int | None:
    """The padding value in the pixels' own representation, whatever VR it was written with."""
    if padding is None:
        return None
    value = int(padding)
    if signed and 0x8000 <= value <= 0xFFFF:
        return value - 0x10000
    return value + 0x10000 if not signed and -0x8000 <= value < 0 else value
