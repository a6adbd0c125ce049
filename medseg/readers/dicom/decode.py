"""One frame of one DICOM file becomes an array.

Uncompressed frames are read from their place in the file; pydicom's plug-ins decode the others.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import BadScan
from medseg.readers.dicom.classes import syntax_of
from medseg.readers.dicom.codestream import starts_with_items, whole_frames
from medseg.readers.dicom.elements import data_set_start
from medseg.readers.dicom.file import Pixels
from medseg.readers.limits import refuse_expansion
from medseg.readers.sources import UNREADABLE, Source

# pydicom warns of every oddity; what matters is refused or said by us.
warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\.")

_DECODER_ERRORS = (
    RuntimeError,
    ValueError,
    NotImplementedError,
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    EOFError,
    OSError,
    ArithmeticError,
)


class FrameReader:
    """The frames of one open file, requested in ascending order."""

    def __init__(self, stream: IO[bytes], pixels: Pixels, source: Source) -> None:
        self._stream, self._pixels, self._source = stream, pixels, source
        self._whole: bytes | None = None
        self._decoded: Iterator[NDArray[Any]] | None = None
        self._next = 0
        self._last: tuple[int, NDArray[Any]] | None = None
        #: Whether numbers beyond the bits that count were dropped.
        self.odd_bits = False

    def read(self, index: int) -> NDArray[Any]:
        """(rows, columns) stored numbers of a frame; the modality LUT's table applied if any.

        Raises:
            BadScan: the frame cannot be decoded.
        """
        if self._last is not None and self._last[0] == index:
            return self._last[1]
        try:
            frame = self._fresh(index)
        except OSError as error:
            raise BadScan(UNREADABLE, path=self._source.name, found=error.strerror) from None
        pixels = self._pixels
        if frame.shape != (pixels.rows, pixels.columns):
            raise BadScan(
                "corrupt: the decoded image has another matrix than the header says",
                path=self._source.name,
                found=frame.shape,
                expected=(pixels.rows, pixels.columns),
            )
        self._last = index, frame
        return frame

    def _fresh(self, index: int) -> NDArray[Any]:
        syntax, pixels = syntax_of(self._pixels.syntax), self._pixels
        if pixels.lut or (pixels.big and pixels.allocated == 8):
            return self._by_pydicom(index)
        if syntax.compressed and not self._is_raw():
            return self._compressed(index)
        return self._native(index, deflated=syntax.deflated)

    def _is_raw(self) -> bool:
        """Whether pixels are plain, whatever the transfer syntax says; only a length decides."""
        pixels = self._pixels
        if pixels.length is None:
            return False
        if pixels.length < pixels.frame_bytes * pixels.frames:
            raise self._undecodable("neither fragments nor as many bytes as the header promises")
        return True

    def _native(self, index: int, *, deflated: bool) -> NDArray[Any]:
        pixels, size = self._pixels, self._pixels.frame_bytes
        start = pixels.offset + index * size
        if deflated:
            content = self._inflated()[start : start + size]
        else:
            self._stream.seek(start)
            content = _read_exactly(self._stream, size)
        if len(content) < size:
            raise BadScan(
                "truncated: the pixel data ends too early",
                path=self._source.name,
                found=f"{len(content)} bytes",
                expected=size,
            )
        if index == 0 and starts_with_items(content, pixels.length):
            raise self._undecodable("fragments under an uncompressed transfer syntax")
        code = {"integer": "i" if pixels.signed else "u"}.get(pixels.form, "f")
        dtype = np.dtype(f"{'>' if pixels.big else '<'}{code}{pixels.allocated // 8}")
        frame = np.frombuffer(content, dtype).reshape(pixels.rows, pixels.columns)
        return self._counting_bits(frame.astype(dtype.newbyteorder("="), copy=False))

    def _counting_bits(self, frame: NDArray[Any]) -> NDArray[Any]:
        """Only the bits that count, sign extended."""
        pixels = self._pixels
        if pixels.form != "integer" or pixels.stored == pixels.allocated:
            return frame
        left, right = pixels.allocated - 1 - pixels.high_bit, pixels.allocated - pixels.stored
        cleaned = (frame << left) >> right
        if left == right and np.array_equal(cleaned, frame):
            return frame
        self.odd_bits = self.odd_bits or left == right
        return np.asarray(cleaned)

    def _inflated(self) -> bytes:
        """The inflated data set, as far as its pixels should reach."""
        if self._whole is None:
            size = self._pixels.offset + self._pixels.frame_bytes * self._pixels.frames
            refuse_expansion(self._source.name, packed=self._source.size, unpacked=size)
            self._stream.seek(0)
            content = self._stream.read()
            start, _ = data_set_start(content, 132 if content[128:132] == b"DICM" else 0)
            try:
                inflater = zlib.decompressobj(-zlib.MAX_WBITS)
                self._whole = inflater.decompress(content[start:], size)
            except zlib.error as error:
                raise BadScan(
                    "corrupt: the deflated data cannot be read", path=self._source.name, found=error
                ) from None
        return self._whole

    def _compressed(self, index: int) -> NDArray[Any]:
        from pydicom.pixels import get_decoder

        pixels = self._pixels
        try:
            if self._decoded is None:
                self._stream.seek(pixels.offset)
                value = whole_frames(self._stream.read(), pixels)
                self._decoded = (
                    frame
                    for frame, _ in get_decoder(pixels.syntax).iter_array(
                        value,
                        raw=True,
                        rows=pixels.rows,
                        columns=pixels.columns,
                        samples_per_pixel=1,
                        number_of_frames=pixels.frames,
                        bits_allocated=pixels.allocated,
                        bits_stored=pixels.stored,
                        photometric_interpretation=pixels.photometric or "MONOCHROME2",
                        pixel_representation=int(pixels.signed),
                        pixel_keyword="PixelData",
                    )
                )
            while True:
                frame = next(self._decoded)
                self._next += 1
                if self._next > index:
                    return np.asarray(frame)
        except StopIteration:
            raise self._undecodable("fewer frames than the header says") from None
        except _DECODER_ERRORS as error:
            raise self._undecodable(error) from None

    def _by_pydicom(self, index: int) -> NDArray[Any]:
        """The rare kinds, by the general way."""
        from pydicom import dcmread
        from pydicom.dataset import FileMetaDataset
        from pydicom.pixels import apply_modality_lut, pixel_array
        from pydicom.uid import ExplicitVRLittleEndian

        deflated = syntax_of(self._pixels.syntax).deflated
        if self._whole is None:
            self._stream.seek(0)
            self._whole = self._inflated() if deflated else self._stream.read()
        try:
            dataset = dcmread(io.BytesIO(self._whole), force=True)
            if deflated:  # never inflated by pydicom, which knows no limit
                dataset.file_meta = FileMetaDataset()
                dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            frame = pixel_array(dataset, index=index)
            if self._pixels.lut:
                frame = apply_modality_lut(frame, dataset)
        except _DECODER_ERRORS as error:
            raise self._undecodable(error) from None
        return np.asarray(frame)

    def _undecodable(self, error: object) -> BadScan:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return BadScan(
            "corrupt or truncated: the pixel data cannot be decoded",
            path=self._source.name,
            found=first[:160],
        )


def _read_exactly(stream: IO[bytes], size: int) -> bytes:
    """Up to `size` bytes, fewer only at the end of the stream."""
    content = stream.read(size)
    while len(content) < size:
        more = stream.read(size - len(content))
        if not more:
            break
        content += more
    return content
