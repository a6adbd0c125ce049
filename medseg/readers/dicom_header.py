"""What does one DICOM file's header say, as far as a volume can be built from it?

Nothing that names a patient is kept: UIDs only as hashes, no descriptions.
"""

from __future__ import annotations

import re
import zlib

from medseg.readers import dicom_enhanced, dicom_mosaic
from medseg.readers.dicom_classes import Syntax, not_a_volume, syntax_of
from medseg.readers.dicom_elements import (
    IMPLICIT,
    PIXEL_TAGS,
    Cut,
    Element,
    Elements,
    Encoding,
    NotDicom,
    numbers,
    text,
    walk,
)
from medseg.readers.dicom_file import FileHeader, Pixels, hashed
from medseg.readers.dicom_frames import (
    CLASSIC_MARKS,
    GEOMETRY_TAGS,
    Frame,
    frame_of,
    marks_of,
)
from medseg.readers.sources import Source

#: Words by which technologists name scout views.
_LOCALIZER_WORDS = re.compile(
    r"locali[sz]er|scout|survey|surview|topogram|scanogram|\b(3|three)[ _-]?pl(ane)?\b")

_META_TAGS = frozenset((0x00020000, 0x00020002, 0x00020010))
_SOP_CLASS, _INSTANCE, _MODALITY, _IMAGE_TYPE = 0x00080016, 0x00080018, 0x00080060, 0x00080008
_DESCRIPTION, _PROTOCOL = 0x0008103E, 0x00181030
_STUDY, _SERIES, _INSTANCE_NUMBER, _FRAME_OF_REFERENCE = (
    0x0020000D, 0x0020000E, 0x00200013, 0x00200052)
_SAMPLES, _PHOTOMETRIC, _FRAMES, _ROWS, _COLUMNS = (
    0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011)
_ALLOCATED, _STORED, _HIGH_BIT, _SIGNED, _PADDING, _LUT = (
    0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00280120, 0x00283000)

#: Every top-level element that is looked at.
WANTED = frozenset((
    _SOP_CLASS, _INSTANCE, _MODALITY, _IMAGE_TYPE, _DESCRIPTION, _PROTOCOL, _STUDY, _SERIES,
    _INSTANCE_NUMBER, _FRAME_OF_REFERENCE, _SAMPLES, _PHOTOMETRIC, _FRAMES, _ROWS, _COLUMNS,
    _ALLOCATED, _STORED, _HIGH_BIT, _SIGNED, _PADDING, _LUT, *GEOMETRY_TAGS, *CLASSIC_MARKS,
    *dicom_enhanced.TAGS, *dicom_mosaic.TAGS,
))


class NeedMore(Exception):
    """The header reaches beyond the bytes given; there are more in the file."""


def looks_like_dicom(head: bytes) -> bool:
    """Whether the first bytes of a file are DICOM's, with or without the preamble."""
    if head[128:132] == b"DICM":
        return True
    return head[:2] in (b"\x08\0", b"\x02\0") and _start_without_preamble(head) is not None


def parse_header(data: bytes, source: Source) -> FileHeader | None:
    """What a file's first bytes say; ``None`` where it is no DICOM file.

    Args:
        data: the file's first bytes.
        source: the file, with its size.

    Raises:
        NeedMore: the header is longer than `data`, and so is the file.
    """
    whole = len(data) >= source.size
    named = data[128:132] == b"DICM"
    try:
        place, meta = data_set_start(data, 132 if named else 0)
    except (Cut, NotDicom):
        if named and not whole:
            raise NeedMore from None
        return _unreadable(data, source) if named else None
    if not named and not meta and _start_without_preamble(data) is None:
        return None
    syntax = syntax_of(text(data, meta.get(0x00020010)))
    if syntax.deflated:
        data, place, whole = _inflate(data, place, whole)
    sop_class = text(data, meta.get(0x00020002)) if not syntax.deflated else ""
    encoding = _encoding(data, place, syntax)
    try:
        found, _ = walk(data, place, len(data), encoding, wanted=WANTED)
    except Cut:
        if not whole:
            raise NeedMore from None
        if not meta and _start_without_preamble(data[place:place + 64]) is None:
            return _unreadable(data, source) if named else None
        return _damaged(data, place, encoding, source, sop_class, "truncated inside the header")
    except NotDicom:
        if not named or not meta:
            return _unreadable(data, source) if named else None
        return _damaged(data, place, encoding, source, sop_class,
                        "corrupt: the header cannot be read")
    if not named and not found.keys() & {_SOP_CLASS, _MODALITY, *PIXEL_TAGS}:
        return None
    if not whole and not found.keys() & PIXEL_TAGS.keys():
        raise NeedMore
    return _Parser(data, found, source, syntax, sop_class).header()


def _unreadable(data: bytes, source: Source) -> FileHeader:
    """A file with DICOM's magic word and no readable element behind it."""
    if data[132:134] == b"\2\0":
        return FileHeader(source, problem="truncated or damaged in the file's header")
    return FileHeader(source, skip="not DICOM: nothing readable behind the magic word")


def data_set_start(data: bytes, start: int) -> tuple[int, Elements]:
    """Where the data set starts, and the file meta information before it."""
    if data[start:start + 2] != b"\x02\0":
        return start, {}
    found, place = walk(data, start, len(data), Encoding(), wanted=_META_TAGS, last_group=2)
    return place, found


def _start_without_preamble(data: bytes) -> Encoding | None:
    """How a data set without preamble is written; ``None`` where this cannot be one."""
    if len(data) < 16 or data[:2] not in (b"\x08\0", b"\x02\0", b"\0\x08") or max(data[2:4]) > 0x20:
        return None
    big = data[:2] == b"\0\x08"
    if data[4:6].isalpha() and data[4:6].isupper():
        return Encoding(big=big)
    length = int.from_bytes(data[4:8], "big" if big else "little")
    return Encoding(explicit=False, big=big) if length <= 1024 else None


def _encoding(data: bytes, place: int, syntax: Syntax) -> Encoding:
    """As declared, unless the first element shows otherwise."""
    if not syntax.uid:
        return _start_without_preamble(data[place:place + 64]) or IMPLICIT
    vr = data[place + 4:place + 6]
    explicit = vr.isalpha() and vr.isupper() if len(vr) == 2 else syntax.explicit
    return Encoding(explicit=explicit, big=syntax.big)


def _inflate(data: bytes, place: int, whole: bool) -> tuple[bytes, int, bool]:
    """The data set inflated, as far as its header may reach."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(data[place:], max(1 << 20, 4 * len(data)))
    except zlib.error:
        return b"", 0, whole
    return inflated, 0, whole and (inflater.eof or not inflater.unconsumed_tail)


def _damaged(
    data: bytes, place: int, encoding: Encoding, source: Source, sop_class: str, problem: str
) -> FileHeader:
    """What can still be told of a file whose header ends or breaks too early."""
    tags = {}
    for tag in (_SERIES, _STUDY, _MODALITY):
        try:
            found, _ = walk(data, place, len(data), encoding, wanted=frozenset((tag,)),
                            last_group=tag >> 16)
        except (Cut, NotDicom):
            continue
        tags[tag] = text(data, found.get(tag))
    return FileHeader(
        source, study=hashed(tags.get(_STUDY, "")), series=hashed(tags.get(_SERIES, "")),
        modality=tags.get(_MODALITY, ""), sop_class=sop_class, problem=problem,
        skip=not_a_volume(sop_class, tags.get(_MODALITY, "")),
    )


class _Parser:
    """One data set's elements, on their way to a `FileHeader`."""

    def __init__(
        self, data: bytes, found: Elements, source: Source, syntax: Syntax, sop_class: str
    ) -> None:
        self.data, self.found, self.source, self.syntax = data, found, source, syntax
        self.sop_class = self._text(_SOP_CLASS) or sop_class
        self.modality = self._text(_MODALITY).upper()[:16]

    def header(self) -> FileHeader:
        """Everything that the file says."""
        pixels = self._pixels()
        skip = not_a_volume(self.sop_class, self.modality)
        problem = "" if skip else self._problem(pixels)
        frames: tuple[Frame, ...] = ()
        if not skip and not problem and pixels is not None:
            if pixels.samples > 1 or pixels.photometric.startswith(("RGB", "YBR", "PALETTE")):
                skip = f"a colour image (photometric interpretation {pixels.photometric[:16]})"
            else:
                frames, problem = self._frames(pixels)
        number = self._number(_INSTANCE_NUMBER, b"IS")
        return FileHeader(
            self.source, hashed(self._text(_STUDY)), hashed(self._text(_SERIES)),
            hashed(self._text(_INSTANCE)), hashed(self._text(_FRAME_OF_REFERENCE)), self.modality,
            self.sop_class, self._is_localizer(),
            None if number is None else int(number), pixels, frames, skip, problem,
        )

    def _is_localizer(self) -> bool:
        if "LOCALIZER" in self._text(_IMAGE_TYPE).upper().split("\\"):
            return True
        described = self._text(_DESCRIPTION) or self._text(_PROTOCOL)
        return _LOCALIZER_WORDS.search(described.lower()) is not None

    def _frames(self, pixels: Pixels) -> tuple[tuple[Frame, ...], str]:
        try:
            if dicom_enhanced.applies(self.found):
                return dicom_enhanced.frames(self.data, self.found, count=pixels.frames)
            if dicom_mosaic.applies(self.data, self.found):
                return dicom_mosaic.frames(self.data, self.found, rows=pixels.rows,
                                           columns=pixels.columns)
        except (Cut, NotDicom):
            return (), "corrupt: a sequence in the header cannot be read"
        if pixels.frames > 1:
            return (), (f"{pixels.frames} frames in one file without a position for each: "
                        "no geometry (ImagePositionPatient)")
        return (frame_of(self.data, [self.found], marks_of(self.data, self.found)),), ""

    def _problem(self, pixels: Pixels | None) -> str:
        if pixels is None:
            if self._text(_ROWS) or self.sop_class.startswith("1.2.840.10008.5.1.4.1.1.2"):
                return "no pixel data: the file is truncated or damaged"
            return "no pixel data: not an image, or truncated in the header"
        if min(pixels.rows, pixels.columns, pixels.frames) < 1:
            return (f"corrupt: the matrix is {pixels.rows} rows x {pixels.columns} columns x "
                    f"{pixels.frames} frames")
        if not self.syntax.supported:
            return f"unsupported transfer syntax {self.syntax.uid[:64]}: cannot be decoded"
        if pixels.form == "integer" and pixels.samples == 1 and (
                pixels.allocated not in (8, 16, 32)
                or not 1 <= pixels.stored <= pixels.high_bit + 1 <= pixels.allocated):
            return (f"unsupported pixels: {pixels.stored} bits stored in {pixels.allocated} "
                    f"allocated, high bit {pixels.high_bit}")
        return self._cut_short(pixels)

    def _cut_short(self, pixels: Pixels) -> str:
        expected = pixels.frame_bytes * pixels.frames
        if self.syntax.deflated or pixels.samples > 1:
            return ""
        if pixels.length is None or self.syntax.compressed:
            return "truncated: the pixel data is missing" if (
                pixels.offset >= self.source.size) else ""
        there = min(pixels.length, self.source.size - pixels.offset)
        if there < expected:
            return (f"truncated: {there} bytes of pixel data, expected {expected} "
                    f"({pixels.rows} rows x {pixels.columns} columns x {pixels.frames} frames)")
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
            rows=self._integer(_ROWS, 0), columns=self._integer(_COLUMNS, 0),
            frames=self._integer(_FRAMES, 1, b"IS"), samples=self._integer(_SAMPLES, 1),
            photometric=self._text(_PHOTOMETRIC).upper(), form=form, allocated=allocated,
            stored=stored, high_bit=self._integer(_HIGH_BIT, stored - 1), signed=signed,
            syntax=self.syntax.uid, big=element.encoding.big, offset=element.start,
            length=element.length, padding=_wrap(padding, signed), lut=_LUT in self.found,
        )

    def _text(self, tag: int) -> str:
        return text(self.data, self.found.get(tag))

    def _number(self, tag: int, vr: bytes) -> float | None:
        values = numbers(self.data, self.found.get(tag), vr)
        return None if values is None else values[0]

    def _integer(self, tag: int, absent: int, vr: bytes = b"US") -> int:
        value = self._number(tag, vr)
        return absent if value is None else int(value)


def _wrap(padding: float | None, signed: bool) -> int | None:
    """The padding value in the pixels' own representation, whatever VR it was written with."""
    if padding is None:
        return None
    value = int(padding)
    if signed and 0x8000 <= value <= 0xFFFF:
        return value - 0x10000
    return value + 0x10000 if not signed and -0x8000 <= value < 0 else value
