"""What one DICOM data set says, as far as a volume can be built from it."""

from __future__ import annotations

import re

from medseg.readers.dicom import enhanced, mosaic, nuclear
from medseg.readers.dicom.classes import (
    Syntax,
    defined_modality,
    must_have_geometry,
    not_a_volume,
)
from medseg.readers.dicom.elements import (
    PIXEL_TAGS,
    Cut,
    Element,
    Elements,
    NotANumber,
    NotDicom,
    numbers,
    text,
)
from medseg.readers.dicom.file import FileHeader, Pixels, hashed
from medseg.readers.dicom.frames import (
    CLASSIC_MARKS,
    EXAMINATION,
    GEOMETRY_TAGS,
    Frame,
    frame_of,
    marks_of,
)
from medseg.readers.dicom.mapping import PARAMETRIC_MAP
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
#: PatientID, PatientName, PatientBirthDate, PatientSex.
_PATIENT = (0x00100020, 0x00100010, 0x00100030, 0x00100040)
#: StudyDate, SeriesNumber, SeriesDescription, DeviceSerialNumber, ContrastBolusAgent.
_OF_SERIES = (0x00080020, 0x00200011, 0x0008103E, 0x00181000, 0x00180010)
_PROTOCOL = 0x00181030
STUDY = 0x0020000D
SERIES = 0x0020000E
_INSTANCE_NUMBER = 0x00200013
_FRAME_OF_REFERENCE = 0x00200052
_PHOTOMETRIC = 0x00280004
_LUT = 0x00283000
_SAMPLES = 0x00280002
_FRAMES = 0x00280008
_ROWS = 0x00280010
_COLUMNS = 0x00280011
_ALLOCATED = 0x00280100
_STORED = 0x00280101
_HIGH_BIT = 0x00280102
_SIGNED = 0x00280103
_PADDING = 0x00280120

#: Numbers that say how the pixels are stored, by the name that messages give them.
_COUNTS = {
    _SAMPLES: "SamplesPerPixel",
    _FRAMES: "NumberOfFrames",
    _ROWS: "Rows",
    _COLUMNS: "Columns",
    _ALLOCATED: "BitsAllocated",
    _STORED: "BitsStored",
    _HIGH_BIT: "HighBit",
    _SIGNED: "PixelRepresentation",
    _PADDING: "PixelPaddingValue",
}
#: What is taken for granted where one of them is missing.
_ASSUMED = {
    "BitsStored": "all bits of the stored numbers are taken to count",
    "PixelRepresentation": "the stored numbers are taken as unsigned",
}
#: Every top-level element that is looked at.
WANTED = frozenset(
    (SOP_CLASS, _INSTANCE, _IMAGE_TYPE, MODALITY, _DESCRIPTION, _PROTOCOL, STUDY, SERIES)
).union(
    (*_PATIENT, *_OF_SERIES, _INSTANCE_NUMBER, _FRAME_OF_REFERENCE, _PHOTOMETRIC, _LUT),
    (*_COUNTS, *GEOMETRY_TAGS, *CLASSIC_MARKS, *enhanced.TAGS, *mosaic.TAGS, *nuclear.TAGS),
)
#: Letters of the hash that separates the patients of one series: too few to identify anybody.
_PATIENT_CHARACTERS = 4


class DatasetParser:
    """One data set's elements, on their way to a `FileHeader`."""

    def __init__(
        self, data: bytes, elements: Elements, source: Source, syntax: Syntax, sop_class: str
    ) -> None:
        self.data, self.elements, self.source, self.syntax = data, elements, source, syntax
        self.sop_class = self._text(SOP_CLASS) or sop_class
        self.modality = defined_modality(self._text(MODALITY))

    def header(self) -> FileHeader:
        """Everything that the file says."""
        skip = not_a_volume(self.sop_class, self.modality)
        problem, pixels = "", None
        try:
            pixels = self._pixels()
        except NotANumber as error:
            problem = "" if skip else f"corrupt: {error}"
        if pixels is None and not skip and not problem and not self._should_have_pixels():
            skip = "no pixel data: not an image"
        if not skip and not problem:
            problem = self._problem(pixels)
        frames: tuple[Frame, ...] = ()
        if not skip and not problem and pixels is not None:
            skip = self._other_picture(pixels)
            if not skip:
                frames, problem = self._frames(pixels)
        return FileHeader(
            self.source,
            hashed(self._text(STUDY)),
            hashed(self._text(SERIES)),
            hashed(self._text(_INSTANCE)),
            hashed(self._text(_FRAME_OF_REFERENCE)),
            self._patient(),
            self.modality,
            self.sop_class,
            self._localizer(),
            self._instance_number(),
            pixels,
            frames,
            skip,
            problem,
            self._notes(pixels, frames),
        )

    def _patient(self) -> tuple[str, ...]:
        """What separates the patient from others of one series; useless beyond it."""
        known = list(map(self._text, _PATIENT))
        known[1] = _spelt_alike(known[1])
        series = self._text(SERIES)
        return tuple(
            hashed(f"{series}\0{text}")[:_PATIENT_CHARACTERS] if text else "" for text in known
        )

    def _examination(self) -> str:
        """What all images of one series share by definition, beyond its UID."""
        shared = "\0".join(_spelt_alike(self._text(tag)) for tag in _OF_SERIES)
        return hashed(shared)[:_PATIENT_CHARACTERS]

    def _other_picture(self, pixels: Pixels) -> str:
        """What the pixels are where they are no slices of a volume; else empty."""
        kind = self._text(_IMAGE_TYPE).upper()
        if "SCREEN SAVE" in kind and not GEOMETRY_TAGS.keys() & self.elements.keys():
            return "a picture of a screen"
        if pixels.samples > 1 or pixels.photometric.startswith(("RGB", "YBR", "PALETTE")):
            return f"a colour image (photometric interpretation {pixels.photometric[:16]})"
        nuclear_kind = nuclear.not_a_volume(self.data, self.elements, self.sop_class)
        if nuclear_kind:
            return nuclear_kind
        if (
            pixels.frames > 1
            and not self._places_frames()
            and not must_have_geometry(self.sop_class, self.modality)
        ):
            return f"a cine: {pixels.frames} frames in one file without a place in the patient"
        return ""

    def _places_frames(self) -> bool:
        return enhanced.applies(self.elements) or nuclear.applies(
            self.data, self.elements, self.sop_class
        )

    def _should_have_pixels(self) -> bool:
        """Whether an object of this kind, or one that states a matrix, is an image."""
        return _ROWS in self.elements or must_have_geometry(self.sop_class, self.modality)

    def _localizer(self) -> str:
        """What calls this a scout view: its image type, or a description; else empty."""
        if "LOCALIZER" in self._text(_IMAGE_TYPE).upper().split("\\"):
            return "image type"
        described = self._text(_DESCRIPTION) or self._text(_PROTOCOL)
        return "description" if _LOCALIZER_WORDS.search(described.lower()) else ""

    def _instance_number(self) -> int | None:
        try:
            values = numbers(self.data, self.elements.get(_INSTANCE_NUMBER), b"IS")
        except NotANumber:
            return None
        return None if values is None else int(values[0])

    def _frames(self, pixels: Pixels) -> tuple[tuple[Frame, ...], str]:
        data, elements = self.data, self.elements
        try:
            if enhanced.applies(elements):
                return enhanced.frames(
                    data, elements, count=pixels.frames, sop_class=self.sop_class
                )
            if nuclear.applies(data, elements, self.sop_class):
                return nuclear.frames(data, elements, count=pixels.frames)
            if mosaic.applies(data, elements):
                return mosaic.frames(data, elements, rows=pixels.rows, columns=pixels.columns)
            if pixels.frames == 1:
                marks = (*marks_of(data, elements), (EXAMINATION, self._examination()))
                return (frame_of(data, [elements], marks),), ""
        except (Cut, NotDicom):
            return (), "corrupt: a sequence in the header cannot be read"
        except NotANumber as error:
            return (), f"corrupt: {error}"
        return (), (
            f"{pixels.frames} frames in one file without a position for each: "
            "no geometry (ImagePositionPatient)"
        )

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
        """Why the pixel data is not what the header promises; empty where it is."""
        expected = pixels.frame_bytes * pixels.frames
        if pixels.samples > 1:
            return ""
        if pixels.length is None:
            if not self.syntax.compressed:
                return "corrupt: pixel data in fragments under an uncompressed transfer syntax"
            missing = pixels.offset >= self.source.size
            return "truncated: the pixel data is missing" if missing else ""
        there = pixels.length
        if not self.syntax.deflated:
            there = min(there, self.source.size - pixels.offset)
        described = (
            f"({pixels.rows} rows x {pixels.columns} columns x {pixels.frames} frames of "
            f"{pixels.allocated} bits)"
        )
        if there < expected and not self.syntax.compressed:
            return f"truncated: {there} bytes of pixel data, expected {expected} {described}"
        if there >= expected + pixels.frame_bytes:
            return (
                f"ambiguous: {there} bytes of pixel data, at least a frame more than the "
                f"{expected} that the header promises {described}"
            )
        return ""

    def _pixels(self) -> Pixels | None:
        tag = next((tag for tag in PIXEL_TAGS if tag in self.elements), None)
        if tag is None:
            return None
        element: Element = self.elements[tag]
        allocated = self._count(_ALLOCATED, 0)
        stored = self._count(_STORED, allocated)
        signed = self._count(_SIGNED, 0)  # what other readers assume where it is missing
        if signed not in (0, 1):
            raise NotANumber(f"PixelRepresentation is {signed}, neither 0 nor 1")
        form = PIXEL_TAGS[tag]
        if form != "integer":
            allocated = stored = 32 if form == "float32" else 64
        return Pixels(
            rows=self._count(_ROWS, 0),
            columns=self._count(_COLUMNS, 0),
            frames=self._count(_FRAMES, 1, b"IS"),
            samples=self._count(_SAMPLES, 1),
            photometric=self._text(_PHOTOMETRIC).upper(),
            form=form,
            allocated=allocated,
            stored=stored,
            high_bit=self._count(_HIGH_BIT, stored - 1),
            signed=signed == 1,
            syntax=self.syntax.uid,
            big=element.encoding.big,
            offset=element.start,
            length=element.length,
            padding=_wrap(self._number(_PADDING, b"SS" if signed else b"US"), signed == 1),
            lut=_LUT in self.elements,
            assumed=self._missing() if form == "integer" else (),
        )

    def _text(self, tag: int) -> str:
        return text(self.data, self.elements.get(tag))

    def _number(self, tag: int, vr: bytes) -> float | None:
        try:
            values = numbers(self.data, self.elements.get(tag), vr)
        except NotANumber as error:
            raise NotANumber(f"{_COUNTS[tag]} cannot be read: {error}") from None
        if values is not None and len(set(values)) > 1:
            raise NotANumber(f"{_COUNTS[tag]} has {len(values)} numbers, not 1")
        return None if values is None else values[0]

    def _missing(self) -> tuple[str, ...]:
        """Names of the elements that should say what the bits of a number are, and do not."""
        return tuple(
            name
            for tag, name in _COUNTS.items()
            if tag in (_STORED, _HIGH_BIT, _SIGNED) and self._number(tag, b"US") is None
        )

    def _count(self, tag: int, absent: int, vr: bytes = b"US") -> int:
        value = self._number(tag, vr)
        if value is not None and not value.is_integer():
            raise NotANumber(f"{_COUNTS[tag]} is {value:g}, no whole number")
        return absent if value is None else int(value)

    def _notes(self, pixels: Pixels | None, frames: tuple[Frame, ...]) -> tuple[str, ...]:
        """What is accepted but should be said."""
        notes = []
        if frames and frames[0].tile is not None:
            notes.append(f"a mosaic was unpacked into {len(frames)} slices")
        if frames and pixels is not None and pixels.length is not None:
            surplus = pixels.length - pixels.frame_bytes * pixels.frames
            if surplus > 1:
                notes.append(f"the pixel data is {surplus} bytes longer than the header promises")
            if self.syntax.compressed:
                notes.append("the pixels are not compressed, whatever the transfer syntax says")
        if frames and pixels is not None:
            notes += [f"no {name}: {_ASSUMED[name]}" for name in pixels.assumed if name in _ASSUMED]
        if frames and not any(frame.rescaled for frame in frames):
            notes.extend(self._unscaled(pixels))
        return tuple(notes)

    def _unscaled(self, pixels: Pixels | None) -> list[str]:
        """What it means that nothing scales the stored numbers, where it should."""
        unit = {"CT": "HU", "PT": "an activity"}.get(self.modality)
        if self.sop_class == PARAMETRIC_MAP:
            missing = "a parametric map without RealWorldValueMapping"
            unit = "what it measures"
        else:
            missing = f"a {self.modality} without RescaleSlope and RescaleIntercept"
        if unit is None or (pixels and pixels.lut):
            return []
        return [f"{missing}: the stored numbers are taken as they are, which may not be {unit}"]


def _wrap(padding: float | None, signed: bool) -> int | None:
    """The padding value in the pixels' own representation, whatever VR it was written with."""
    if padding is None:
        return None
    value = int(padding)
    if signed and 0x8000 <= value <= 0xFFFF:
        return value - 0x10000
    return value + 0x10000 if not signed and -0x8000 <= value < 0 else value


def _spelt_alike(name: str) -> str:
    r"""A name for comparison, whatever its case and blanks; empty where a character set matters.

    >>> _spelt_alike("Doe^Jane^^"), _spelt_alike("DOE^JANE=\x1b$B;3"), _spelt_alike("\xd4\xcf^J")
    ('doe jane', 'doe jane', '')
    """
    latin = name.partition("=")[0]
    if not (latin.isascii() and latin.isprintable()):
        return ""
    return re.sub(r"[\s^]+", " ", latin).strip().lower()
