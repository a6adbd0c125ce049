"""One safe name for every name: what a case is called in tables, masks and scores alike."""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from collections import Counter
from collections.abc import Sequence

#: Bytes in UTF-8 of the longest safe name; file systems take 255, endings and suffixes included.
MOST_BYTES = 120

#: Kept beside letters, marks and digits of any script; not at the start, where a shell, a
#: spreadsheet or a file system would read something into them.
PUNCTUATION = "._+=@-"

#: Names that Windows keeps for devices.
_DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{n}" for port in ("com", "lpt") for n in "123456789"),
}

_MARK = 8


def safe_name(name: str) -> str:
    r"""A name that is safe as a file name on every system, and the same for the same name.

    Letters and digits of any script stay, in their composed form (NFC). Anything else becomes an
    underscore; a name that lost something by it, or by its length, ends in a mark of its own, so
    that two names never become one. A safe name is its own safe name.

    Args:
        name: any text; undecodable bytes of file names too.

    Returns:
        At most `MOST_BYTES` bytes in UTF-8; empty only for an empty name.

    >>> safe_name("张伟"), safe_name("case_01")
    ('张伟', 'case_01')
    >>> safe_name("Mu\u0308ller") == safe_name("M\u00fcller")
    True
    >>> safe_name("Anna Maria") == safe_name("Anna_Maria")
    False
    """
    composed = unicodedata.normalize("NFC", name)
    kept = _kept(composed)
    if kept == composed and _fits(kept):
        return kept
    return _marked(kept, composed)


def tell_apart(names: Sequence[str]) -> list[str]:
    """Safe names of different names, also where upper and lower case count as one.

    >>> tell_apart(["A", "b"])
    ['A', 'b']
    >>> len({name.casefold() for name in tell_apart(["A", "a"])})
    2
    """
    safe = [safe_name(name) for name in names]
    count = Counter(name.casefold() for name in safe)
    return [
        _marked(kept, name) if count[kept.casefold()] > 1 else kept
        for name, kept in zip(names, safe, strict=True)
    ]


def mark(name: str) -> str:
    """Eight letters and digits, the same for the same name, that keep two names apart.

    >>> mark("Anna Maria") == mark("Anna_Maria"), len(mark(""))
    (False, 8)
    """
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return base64.b32encode(digest).decode().lower()[:_MARK]


def is_safe(name: str) -> bool:
    """Whether a name can be used as it is.

    >>> is_safe("case_01"), is_safe("../case"), is_safe("")
    (True, False, False)
    """
    return bool(name) and safe_name(name) == name


def _kept(composed: str) -> str:
    """Only what is safe; runs of anything else become one underscore."""
    letters = "".join(
        char if unicodedata.category(char)[0] in "LMN" or char in PUNCTUATION else " "
        for char in composed
    )
    return "_".join(letters.split()).lstrip(PUNCTUATION).rstrip(".")


def _fits(name: str) -> bool:
    device = name.partition(".")[0].casefold() in _DEVICES
    starts = bool(name) and unicodedata.category(name[0])[0] in "LN"
    return starts and not device and len(name.encode()) <= MOST_BYTES


def _marked(kept: str, name: str) -> str:
    if not name:
        return ""
    room = kept.encode()[: MOST_BYTES - _MARK - 1].decode("utf-8", "ignore")
    while room and unicodedata.category(room[0])[0] not in "LN":
        room = room[1:]
    return f"{room or 'scan'}-{mark(name)}"
