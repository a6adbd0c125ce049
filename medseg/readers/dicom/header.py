"""What one DICOM file's header says, as far as a volume can be built from it.

Nothing that names a patient is kept: UIDs only as hashes, no descriptions.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from threading import Lock
from typing import IO

from medseg.errors import BadScan
from medseg.readers.dicom.classes import Syntax, not_a_volume, syntax_of
from medseg.readers.dicom.dataset import MODALITY, SERIES, SOP_CLASS, STUDY, WANTED, DatasetParser
from medseg.readers.dicom.elements import (
    IMPLICIT,
    PIXEL_TAGS,
    Cut,
    Encoding,
    NotDicom,
    data_set_start,
    walk,
)
from medseg.readers.dicom.file import FileHeader, hashed
from medseg.readers.dicom.values import text
from medseg.readers.limits import MOST_HEADER_BYTES
from medseg.readers.sources import UNREADABLE, Source, open_each

#: Most headers fit into the first; private ones of some vendors need the second.
_FIRST_BYTES, _GROWTH = 1 << 15, 4
#: Headers longer than this are read one at a time, so that threads do not hold several.
_LONG_BYTES = 1 << 21
_ONE_LONG = Lock()


class NeedMore(Exception):
    """The header reaches beyond the bytes given; there are more in the file."""


def looks_like_dicom(head: bytes) -> bool:
    """Whether the first bytes of a file are DICOM's, with or without the preamble."""
    if head[128:132] == b"DICM":
        return True
    return head[:2] in (b"\x08\0", b"\x02\0") and _start_without_preamble(head) is not None


def look_at(source: Source) -> FileHeader | None:
    """What a file's header says; ``None`` where it is no DICOM file."""
    try:
        for _, stream in open_each([source]):
            return look_into(stream, source)
    except BadScan as error:
        return FileHeader(source, problem=error.problem)
    return None


def look_into(stream: IO[bytes], source: Source) -> FileHeader | None:
    """The same for an open stream, read from its start as far as needed."""
    try:
        data, wanted = b"", _FIRST_BYTES
        while wanted <= _LONG_BYTES:
            data += read_up_to(stream, min(wanted, source.size) - len(data))
            try:
                whole = len(data) < min(wanted, source.size)
                return _parse(data, source, whole=whole, most=_GROWTH * wanted)
            except NeedMore:
                wanted *= _GROWTH
        with _ONE_LONG:
            return _look_far(stream, source, data)
    except OSError as error:
        return FileHeader(source, problem=f"{UNREADABLE}: {error.strerror}")
    except BadScan as error:
        return FileHeader(source, problem=error.problem)


def _look_far(stream: IO[bytes], source: Source, data: bytes) -> FileHeader | None:
    """The same for a long header, of which `data` is known."""
    wanted = min(_GROWTH * len(data), MOST_HEADER_BYTES)
    while True:
        data += read_up_to(stream, min(wanted, source.size) - len(data))
        try:
            whole = len(data) < min(wanted, source.size)
            return _parse(data, source, whole=whole, most=_GROWTH * wanted)
        except NeedMore:
            if wanted >= MOST_HEADER_BYTES:
                return _too_long(data, source)
        wanted = min(_GROWTH * wanted, MOST_HEADER_BYTES)


def _too_long(data: bytes, source: Source) -> FileHeader | None:
    """What the beginning of an endless header says of the kind of object."""
    try:
        beginning = _parse(data, source, whole=True, most=MOST_HEADER_BYTES)
    except NeedMore:  # a deflated one
        beginning = FileHeader(source)
    if beginning is None:
        return None
    megabytes = MOST_HEADER_BYTES >> 20
    return replace(beginning, problem=f"the header is longer than {megabytes} MiB: not read")


def _parse(data: bytes, source: Source, *, whole: bool, most: int) -> FileHeader | None:
    """What the bytes say; `whole` where there are no more of them, whatever the size promises."""
    known = replace(source, size=len(data)) if whole else source
    try:
        header = parse_header(data, known, most=most)
    except struct.error:
        return FileHeader(source, problem="corrupt: the header cannot be read")
    return header if header is None or not whole else replace(header, source=source)


def read_up_to(stream: IO[bytes], size: int) -> bytes:
    """Up to `size` bytes, fewer only at the end."""
    parts = []
    while size > 0:
        part = stream.read(size)
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def plain_head(stream: IO[bytes], size: int) -> bytes:
    """A file's first bytes, at most `size`; of a deflated one its data set without the meta part.

    Other libraries inflate such a file whole, whatever it swells to.
    """
    data = read_up_to(stream, size)
    try:
        place, meta = data_set_start(data, 132 if data[128:132] == b"DICM" else 0)
    except (Cut, NotDicom):
        return data
    deflated = syntax_of(text(data, meta.get(0x00020010))).deflated
    return _inflate(data, place, size, whole=False)[0][:size] if deflated else data


def parse_header(
    data: bytes, source: Source, *, most: int = MOST_HEADER_BYTES
) -> FileHeader | None:
    """What a file's first bytes say; ``None`` where it is no DICOM file.

    Args:
        data: the file's first bytes.
        source: the file, with its size.
        most: bytes to which a deflated header is inflated.

    Raises:
        NeedMore: the header is longer than `data`, and so is the file; or longer than `most`.
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
        data, place, whole = _inflate(data, place, most, whole=whole)
    sop_class = text(data, meta.get(0x00020002)) if not syntax.deflated else ""
    encoding = _encoding(data, place, syntax)
    try:
        elements, _ = walk(data, place, len(data), encoding, wanted=WANTED)
    except Cut:
        if not whole:
            raise NeedMore from None
        if not meta and _start_without_preamble(data[place : place + 64]) is None:
            return _unreadable(data, source) if named else None
        return _damaged(data, place, encoding, source, sop_class, "truncated inside the header")
    except NotDicom:
        if not named or not meta:
            return _unreadable(data, source) if named else None
        return _damaged(
            data, place, encoding, source, sop_class, "corrupt: the header cannot be read"
        )
    if not named and not elements.keys() & {SOP_CLASS, MODALITY, *PIXEL_TAGS}:
        return None
    if not whole and not elements.keys() & PIXEL_TAGS.keys():
        raise NeedMore
    return DatasetParser(data, elements, source, syntax, sop_class).header()


def _unreadable(data: bytes, source: Source) -> FileHeader:
    """A file with DICOM's magic word and no readable element behind it."""
    if data[132:134] == b"\2\0":
        return FileHeader(source, problem="truncated or damaged in the file's header")
    return FileHeader(source, skip="not DICOM: nothing readable behind the magic word")


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
        return _start_without_preamble(data[place : place + 64]) or IMPLICIT
    vr = data[place + 4 : place + 6]
    explicit = vr.isalpha() and vr.isupper() if len(vr) == 2 else syntax.explicit
    return Encoding(explicit=explicit, big=syntax.big)


def _inflate(data: bytes, place: int, most: int, *, whole: bool) -> tuple[bytes, int, bool]:
    """The data set inflated up to so many bytes, where it starts, and whether that is all of it."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(memoryview(data)[place:], min(most, MOST_HEADER_BYTES))
    except zlib.error:
        return b"", 0, whole
    return inflated, 0, whole and (inflater.eof or not inflater.unconsumed_tail)


def _damaged(
    data: bytes, place: int, encoding: Encoding, source: Source, sop_class: str, problem: str
) -> FileHeader:
    """What can still be said of a file whose header ends or breaks too early."""
    tags = {}
    for tag in (SERIES, STUDY, MODALITY):
        try:
            elements, _ = walk(
                data, place, len(data), encoding, wanted=frozenset((tag,)), last_group=tag >> 16
            )
        except (Cut, NotDicom):
            continue
        tags[tag] = text(data, elements.get(tag))
    return FileHeader(
        source,
        study=hashed(tags.get(STUDY, "")),
        series=hashed(tags.get(SERIES, "")),
        modality=tags.get(MODALITY, ""),
        sop_class=sop_class,
        problem=problem,
        skip=not_a_volume(sop_class, tags.get(MODALITY, "")),
    )
