"""What medseg remembers of one DICOM file: values alone, nothing that names a patient."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from medseg.errors import BadScan
from medseg.readers.dicom.frames import Frame
from medseg.readers.sources import Source


@dataclass(frozen=True, slots=True)
class Pixels:
    """How a file stores its pixels.

    Attributes:
        rows: of one frame, as stored.
        columns: of one frame, as stored.
        frames: how many.
        samples: numbers a pixel; more than one is colour.
        photometric: the photometric interpretation.
        form: ``integer``, ``float32`` or ``float64``.
        allocated: bits a number takes.
        stored: bits of them that count.
        high_bit: the most significant of those.
        signed: two's complement.
        syntax: transfer syntax UID.
        big: stored big endian.
        offset: where the value starts, in the (inflated) file.
        length: its bytes; ``None`` where compressed.
        padding: stored number of pixels outside the scanned field, or ``None``.
        lut: a modality LUT maps the stored numbers.
        assumed: names of the elements that should say how a number is stored, and are missing.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    form: str
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    syntax: str
    big: bool
    offset: int
    length: int | None
    padding: int | None
    lut: bool
    assumed: tuple[str, ...] = ()

    @property
    def frame_bytes(self) -> int:
        """Bytes of one uncompressed frame."""
        return self.rows * self.columns * self.samples * self.allocated // 8


@dataclass(frozen=True, slots=True)
class FileHeader:
    """What one DICOM file says.

    Attributes:
        source: the file.
        study: hash of the study's UID, or empty.
        series: hash of the series' UID, or empty.
        instance: hash of the file's own UID, or empty.
        reference: hash of the frame of reference's UID, or empty.
        patient: short hashes of what separates patients under one series' UID, each maybe empty:
            id, name, date of birth, sex.
        modality: as written.
        sop_class: UID of the kind of object.
        localizer: what says that it is a scout view: ``image type``, ``description`` or empty.
        instance_number: or ``None``.
        pixels: how the pixels are stored, or ``None``.
        frames: the planes that the file holds.
        skip: why this is no part of a volume, or empty.
        problem: why the series of this file cannot be used, or empty.
        notes: what is accepted but should be said.
    """

    source: Source
    study: str = ""
    series: str = ""
    instance: str = ""
    reference: str = ""
    patient: tuple[str, ...] = ()
    modality: str = ""
    sop_class: str = ""
    localizer: str = ""
    instance_number: int | None = None
    pixels: Pixels | None = None
    frames: tuple[Frame, ...] = ()
    skip: str = ""
    problem: str = ""
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Plane:
    """One frame of one file."""

    file: FileHeader
    frame: Frame

    @property
    def pixels(self) -> Pixels:
        """How the file stores it."""
        if self.file.pixels is None:
            raise BadScan("no pixel data", path=self.file.source.name)
        return self.file.pixels

    @property
    def matrix(self) -> tuple[int, int]:
        """Rows and columns."""
        if self.frame.tile is not None:
            return self.frame.tile[2], self.frame.tile[3]
        return self.pixels.rows, self.pixels.columns

    @property
    def order(self) -> tuple[int, int]:
        """Where it stands in the series, by the numbers that the scanner gave."""
        number = self.file.instance_number
        return -1 if number is None else number, self.frame.index


def hashed(uid: str) -> str:
    """A UID that cannot be turned back; empty stays empty."""
    return hashlib.blake2b(uid.encode(), digest_size=12).hexdigest() if uid else ""
