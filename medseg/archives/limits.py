"""How far an archive may swell, and what a refusal says."""

from __future__ import annotations

from pathlib import Path

from medseg.errors import BadScan

#: An archive may hold this many times its own size; deflate packs no tighter than 1032 : 1, and
#: no archive of scans comes near half of it.
MOST_SWELLING = 500
#: ... or this much whatever its size.
HARMLESS_BYTES = 1 << 28


def refuse_swelling(path: Path, total: int) -> None:
    """Refuse an archive that holds far more than its size can mean.

    Args:
        path: the archive.
        total: bytes that its members hold, or that were unpacked so far.

    Raises:
        BadScan: more than `MOST_SWELLING` times its size, and more than `HARMLESS_BYTES`.
    """
    if total <= HARMLESS_BYTES:
        return
    most = max(HARMLESS_BYTES, MOST_SWELLING * path.stat().st_size)
    if total > most:
        raise BadScan(
            "the archive swells beyond reason (a decompression bomb?)",
            path=path.name,
            found=f"{total} bytes or more",
            expected=f"at most {most}: {MOST_SWELLING} times its size, or {HARMLESS_BYTES}",
            remedy="Unpack it yourself if you trust it.",
        )
