"""What one DICOM data set says, as far as a volume can be built from it."""

from __future__ import annotations

import re

from medseg.readers.dicom import enhanced, mosaic, nuclear, storage
from medseg.readers.dicom.classes import (
    Syntax,
    defined_modality,
    must_have_geometry,
    not_a_volume,
)
from medseg.readers.dicom.elements import Cut, Elements, NotDicom
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
from medseg.readers.dicom.values import NotANumber, numbers, text
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
#: Every top-level element that is looked at.
WANTED = frozenset(
    (SOP_CLASS, _INSTANCE, _IMAGE_TYPE, MODALITY, _DESCRIPTION, _PROTOCOL, STUDY, SERIES)
).union(
    (*_PATIENT, *_OF_SERIES, _INSTANCE_NUMBER, _FRAME_OF_REFERENCE, *storage.TAGS),
    (*GEOMETRY_TAGS, *CLASSIC_MARKS, *enhanced.TAGS, *mosaic.TAGS, *nuclear.TAGS),
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
            pixels = storage.pixels_of(self.data, self.elements, self.syntax)
        except NotANumber as error:
            problem = "" if skip else f"corrupt: {error}"
        if pixels is None and not skip and not problem and not self._should_have_pixels():
            skip = "no pixel data: not an image"
        if not skip and not problem:
            problem = storage.problem_of(pixels, self.syntax, self.source.size)
        frames: tuple[Frame, ...] = ()
        if not skip and not problem and pixels is not None:
            skip = self._other_picture(pixels)
            if not skip:
                frames, problem = self._frames(pixels)
        return FileHeader(
            self.source,
            study=hashed(self._text(STUDY)),
            series=hashed(self._text(SERIES)),
            instance=hashed(self._text(_INSTANCE)),
            reference=hashed(self._text(_FRAME_OF_REFERENCE)),
            patient=self._patient(),
            modality=self.modality,
            sop_class=self.sop_class,
            localizer=self._localizer(),
            instance_number=self._instance_number(),
            pixels=pixels,
            frames=frames,
            skip=skip,
            problem=problem,
            notes=self._notes(pixels, frames),
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
        return storage.ROWS in self.elements or must_have_geometry(self.sop_class, self.modality)

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

    def _text(self, tag: int) -> str:
        return text(self.data, self.elements.get(tag))

    def _notes(self, pixels: Pixels | None, frames: tuple[Frame, ...]) -> tuple[str, ...]:
        """What is accepted but should be said."""
        notes = []
        if frames and frames[0].tile is not None:
            notes.append(f"a mosaic was unpacked into {len(frames)} slices")
        if frames and pixels is not None:
            notes += storage.remarks_on(pixels, self.syntax)
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


def _spelt_alike(name: str) -> str:
    r"""A name for comparison, whatever its case and blanks; empty where a character set matters.

    >>> _spelt_alike("Doe^Jane^^"), _spelt_alike("DOE^JANE=\x1b$B;3"), _spelt_alike("\xd4\xcf^J")
    ('doe jane', 'doe jane', '')
    """
    latin = name.partition("=")[0]
    if not (latin.isascii() and latin.isprintable()):
        return ""
    return re.sub(r"[\s^]+", " ", latin).strip().lower()
