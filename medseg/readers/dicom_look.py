"""How much of a file must be read to know what its DICOM header says?"""

from __future__ import annotations

import struct
from typing import IO

from medseg.errors import BadScan
from medseg.readers.dicom_file import FileHeader
from medseg.readers.dicom_header import NeedMore, parse_header
from medseg.readers.sources import UNREADABLE, Source, open_each

#: Most headers fit into the first; private ones of some vendors need the second.
_FIRST_BYTES, _GROWTH = 1 << 15, 4
#: No header is longer.
_MOST_BYTES = 1 << 29


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
    data = b""
    wanted = _FIRST_BYTES
    while True:
        try:
            data += read_up_to(stream, min(wanted, source.size) - len(data))
        except OSError as error:
            return FileHeader(source, problem=f"{UNREADABLE}: {error.strerror}")
        except BadScan as error:
            return FileHeader(source, problem=error.problem)
        if len(data) < min(wanted, source.size):
            return _parse(data, source, whole=True)
        try:
            return _parse(data, source)
        except NeedMore:
            if wanted >= _MOST_BYTES:
                return FileHeader(source, problem="corrupt: the header has no end")
            wanted *= _GROWTH


def _parse(data: bytes, source: Source, *, whole: bool = False) -> FileHeader | None:
    from dataclasses import replace

    known = replace(source, size=len(data)) if whole else source
    try:
        header = parse_header(data, known)
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
