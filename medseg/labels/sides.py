"""The side of the body that a structure's name says, and which two names differ by it alone."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from enum import StrEnum


class Side(StrEnum):
    """The side of the body a structure belongs to."""

    LEFT = "left"
    RIGHT = "right"
    NONE = "none"


#: Whole words for a side, accents left out: English and its abbreviations, FreeSurfer's
#: hemispheres, Latin, and the languages that most card writers think in.
_LEFT_WORDS = re.compile(
    "left|lt?|lhs?|lft|sin|sinist(er|ra|rum|ro)|sx|gauche|links|linke[rsn]?|izquierd[oa]|izq"
    "|esquerd[oa]|esq|vanster|venstre|lew[yae]"
)
_RIGHT_WORDS = re.compile(
    "right|rt?|rhs?|rgt|dex|dext(er|ra|rum|ro)|destr[oa]|dx|droite?|rechts|rechte[rsn]?|derech[oa]"
    "|direit[oa]|hoger|ho[jy]re|praw[yae]"
)

#: Beginnings or endings for a side in scripts and words that are written together.
_GLUED = {
    Side.LEFT: re.compile("^left|(?<!c)left$|左|왼|좌측|^лев"),  # a cleft has no side
    Side.RIGHT: re.compile("^right|(?<!b)(?<!up)right$|右|오른|우측|^прав"),
}

#: Common abbreviations, as capitals or a whole name: their side and what they stand for.
_SHORT = {
    short: (Side.LEFT if short[0] == "l" else Side.RIGHT, word)
    for word, shorts in {
        "ventricle": "lv rv lvm rvm lvbp rvbp lvc rvc lvmyo rvmyo",
        "atrium": "la ra laa raa",
        "coronary": "lad lca rca",
        "kidney": "lk rk",
        "adrenal": "lag rag",
        "lobe": "lul lll rul rml rll",
    }.items()
    for short in shorts.split()
}

#: Letters for left and right, and to how many sides other letters may adjoin: lkidney, rein_g.
_LETTERS = {("l", "r"): 1, ("g", "d"): 0}


def side_of(name: str) -> Side:
    """The side a name says; none where it says none or both.

    >>> [side_of(name).value for name in ("kidney_L", "LeftKidney", "lh.precuneus", "Rein gauche")]
    ['left', 'left', 'left', 'left']
    >>> [side_of(name).value for name in ("vertebra L1", "cleft palate", "RV", "左肾")]
    ['none', 'none', 'right', 'left']
    """
    sides = {side for side, _ in _words(name) if side is not Side.NONE}
    return sides.pop() if len(sides) == 1 else Side.NONE


def sides_of(names: Sequence[str]) -> list[Side]:
    """The side of each name of a table; two that differ in an ``l`` and an ``r`` have one, too.

    >>> [side.value for side in sides_of(["rkidney", "lkidney", "liver"])]
    ['right', 'left', 'none']
    """
    sides = [side_of(name) for name in names]
    for one, name in enumerate(names):
        for other, partner in enumerate(names):
            if sides[one] is sides[other] is Side.NONE and _by_letter(name, partner) is not None:
                sides[one], sides[other] = Side.LEFT, Side.RIGHT
    return sides


def without_side(name: str) -> tuple[str, ...]:
    """The words of a name but those that say a side.

    >>> without_side("Left-Cerebral-Cortex"), without_side("RK")
    (('cerebral', 'cortex'), ('kidney',))
    """
    return tuple(word for _, word in _words(name) if word)


def common_words(one: str, other: str) -> tuple[str, ...] | None:
    """What two names have in common that differ by the side alone; else ``None``."""
    words = without_side(one)
    if words == without_side(other):
        return words
    return _by_letter(one, other) or _by_letter(other, one)


def _words(name: str) -> list[tuple[Side, str]]:
    """Each word: its side, and what is left of it."""
    plain = unicodedata.normalize("NFKC", name)
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})", " ", plain)
    words = re.findall(r"[^\W_]+", apart)
    return [_word(word, is_short=word.isupper() or len(words) == 1) for word in words]


def _word(written: str, *, is_short: bool) -> tuple[Side, str]:
    decomposed = unicodedata.normalize("NFD", written.casefold().replace("ø", "o"))
    word = "".join(letter for letter in decomposed if letter.isascii()) or written.casefold()
    if _LEFT_WORDS.fullmatch(word):
        return Side.LEFT, ""
    if _RIGHT_WORDS.fullmatch(word):
        return Side.RIGHT, ""
    if is_short and word in _SHORT:
        return _SHORT[word]
    for side, pattern in _GLUED.items():
        if pattern.search(written.casefold()):
            return side, pattern.sub("", written.casefold())
    return Side.NONE, written.casefold()


def _by_letter(left: str, right: str) -> tuple[str, ...] | None:
    """The words of two names that differ in a letter for the side at the end of a word."""
    one, other = left.casefold(), right.casefold()
    if len(one) != len(other):
        return None
    apart = [n for n, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    if len(apart) != 1:
        return None
    place = apart[0]
    joined = sum(part.isalpha() for part in (one[:place][-1:], one[place + 1 : place + 2]))
    if joined > _LETTERS.get((one[place], other[place]), -1):
        return None
    return without_side(one[:place] + one[place + 1 :])
