"""How far one file may expand: the limits that every unpacking keeps, and what a refusal says."""

from __future__ import annotations

from pathlib import Path

from medseg.errors import BadScan

#: A file may hold this many times its own size. Scans pack to a half or a third; masks and
#: padding more tightly, but not whole volumes beyond `HARMLESS_BYTES`.
MOST_EXPANSION = 200
#: ... or this much whatever its size.
HARMLESS_BYTES = 1 << 30
#: No DICOM header is longer; private data before the pixels count.
MOST_HEADER_BYTES = 1 << 27


def refuse_expansion(path: str | Path, *, packed: int, unpacked: int) -> None:
    """Refuse a file that claims to hold far more than its size can mean.

    Args:
        path: the file, as messages name it.
        packed: its size in bytes.
        unpacked: bytes that its header promises after unpacking.

    Raises:
        BadScan: more than `MOST_EXPANSION` times the size, and more than `HARMLESS_BYTES`.
    """
    most = max(HARMLESS_BYTES, MOST_EXPANSION * packed)
    if unpacked > most:
        raise BadScan(
            "the file claims to hold far more than its size (a decompression bomb?)",
            path=path,
            found=f"{unpacked} bytes in a file of {packed}",
            expected=f"at most {most}: {MOST_EXPANSION} times its size, or {HARMLESS_BYTES}",
            remedy="Unpack it yourself if you trust it.",
        )
