"""Compressed pixels, proven whole and of the header's size before a decoder sees them.

Decoders trust what they are given: one fills missing ends with grey, one makes room for whatever
size a damaged image claims, one ends the process when runs are longer than the image.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from medseg.readers.dicom.file import Pixels

_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
#: How a JPEG (JPEG-LS among them), a JPEG 2000 and one in its own file format start.
_JPEG, _JPEG_2000, _JP2 = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "
_STARTS = (_JPEG, _JPEG_2000, _JP2)
_END_OF_IMAGE = b"\xff\xd9"
_RLE = "1.2.840.10008.1.2.5"
_RLE_HEADER = 64
#: JPEG markers that start a frame of any process, JPEG-LS among them.
_FRAME_MARKERS = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}


def whole_frames(value: bytes, pixels: Pixels) -> bytes:
    """Encapsulated pixel data from its first item on, checked, with one item a frame.

    Tables of offsets are not needed and not trusted: frames follow each other as they are stored.

    Raises:
        ValueError: it is cut short, or claims another size or number of frames than the header.
    """
    place, fragments = 0, []
    while value[place : place + 4] == _ITEM:
        length = int.from_bytes(value[place + 4 : place + 8], "little")
        start, place = place + 8, place + 8 + length
        if place > len(value):
            raise ValueError("truncated: the pixel data ends inside a fragment")
        fragments.append((start, place))
    ends_itself = value[:place].rstrip(b"\0").endswith(_END_OF_IMAGE)
    if value[place : place + 4] != _DELIMITER and not ends_itself:
        raise ValueError("truncated: the end of the pixel data is missing")
    contents = [value[start:stop] for start, stop in fragments[1:]]  # the first holds offsets
    frames = (_rle_frames if pixels.syntax == _RLE else _images)(contents, pixels)
    return _encapsulated(frames)


def starts_with_items(content: bytes, length: int | None) -> bool:
    """Whether bytes that should be pixels are the heads of fragments.

    Args:
        content: of the first frame.
        length: of the whole value.
    """
    if content[:4] != _ITEM:
        return False
    end = 8 + int.from_bytes(content[4:8], "little")
    return content[end : end + 4] in (_ITEM, _DELIMITER) or length in (end, end + 8)


def _images(contents: Sequence[bytes], pixels: Pixels) -> list[bytes]:
    """Every frame's compressed image whole: from the fragment that starts it to the next such."""
    starts = [place for place, content in enumerate(contents) if content.startswith(_STARTS)]
    if not starts or starts[0] != 0:
        raise ValueError("corrupt: the first fragment starts no compressed image")
    if len(starts) != pixels.frames:
        raise ValueError(
            f"ambiguous: {len(starts)} compressed images, the header promises {pixels.frames}"
        )
    ends = [*starts[1:], len(contents)]
    frames = [b"".join(contents[i:j]) for i, j in zip(starts, ends, strict=True)]
    for frame in frames:
        _check_image(frame, pixels)
    return frames


def _rle_frames(contents: Sequence[bytes], pixels: Pixels) -> list[bytes]:
    """Every frame's run lengths whole, also where a writer cut a frame into several fragments."""
    if len(contents) == pixels.frames or pixels.frames == 1:
        frames = list(contents) if len(contents) == pixels.frames else [b"".join(contents)]
        for frame in frames:
            _check_rle(frame, pixels)
        return frames
    frames, frame = [], b""
    for content in contents:
        frame += content
        try:
            _check_rle(frame, pixels)
        except ValueError:
            continue
        frames.append(frame)
        frame = b""
    if frame or len(frames) != pixels.frames:
        raise ValueError(
            f"corrupt: {len(contents)} fragments of run lengths do not make {pixels.frames} frames"
        )
    return frames


def _encapsulated(frames: Sequence[bytes]) -> bytes:
    """One item a frame behind an empty table of offsets."""
    heads = (_ITEM + len(frame).to_bytes(4, "little") for frame in frames)
    items = [head + frame for head, frame in zip(heads, frames, strict=True)]
    return b"".join((_ITEM + bytes(4), *items, _DELIMITER + bytes(4)))


def _check_image(image: bytes, pixels: Pixels) -> None:
    if _END_OF_IMAGE not in image:  # which no compressed number looks like
        raise ValueError("truncated: a compressed image has no end mark")
    if image.startswith(_JPEG_2000):
        right, bottom, left, top = struct.unpack_from(">4I", image, 8)
        _refuse_other_size(bottom - top, right - left, pixels)
    elif image.startswith(_JPEG):
        _check_jpeg(image, pixels)


def _check_jpeg(image: bytes, pixels: Pixels) -> None:
    place = 2
    while place + 9 <= len(image) and image[place] == 0xFF:
        if image[place + 1] in _FRAME_MARKERS:
            height, width = struct.unpack_from(">2H", image, place + 5)
            _refuse_other_size(height, width, pixels)
            return
        place += 2 + int.from_bytes(image[place + 2 : place + 4], "big")


def _refuse_other_size(height: int, width: int, pixels: Pixels) -> None:
    if (height, width) != (pixels.rows, pixels.columns):
        raise ValueError(
            f"corrupt: the compressed image has {height} rows x {width} columns, "
            f"the header says {pixels.rows} x {pixels.columns}"
        )


def _check_rle(fragment: bytes, pixels: Pixels) -> None:
    """Every segment must hold one byte of every pixel (PS3.5, annex G)."""
    if len(fragment) < _RLE_HEADER:
        raise ValueError("truncated: the run lengths have no header")
    count, *offsets = struct.unpack_from("<16I", fragment)
    if count != pixels.allocated // 8:
        raise ValueError(f"corrupt: {count} segments of run lengths for {pixels.allocated} bits")
    ends = [*offsets[1:count], len(fragment)]
    for start, stop in zip(offsets, ends, strict=False):
        if not _RLE_HEADER <= start <= stop <= len(fragment):
            raise ValueError("corrupt: a segment of run lengths lies outside its image")
        length = _unpacked_length(fragment[start:stop], pixels.rows * pixels.columns)
        if length != pixels.rows * pixels.columns:
            raise ValueError(
                f"corrupt or truncated: run lengths for {length} pixels, expected "
                f"{pixels.rows * pixels.columns}"
            )


def _unpacked_length(segment: bytes, most: int) -> int:
    """Bytes that a PackBits segment unpacks to; a byte of padding at its end is none."""
    place, length, stop = 0, 0, len(segment)
    while place < stop:
        head = segment[place]
        if head < 128:
            if length == most and stop - place <= 2:
                break
            length += min(head + 1, stop - place - 1)
            place += head + 2
        elif head > 128:
            if place + 1 < stop:
                length += 257 - head
            place += 2
        else:
            place += 1
        if length > most:
            break
    return length
