"""One named structure: value, colour, code, side and other names, and how a card spells them."""

from __future__ import annotations

import colorsys
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from medseg.errors import BadLabels
from medseg.labels.sides import Side, side_of


@dataclass(frozen=True)
class Label:
    """One named structure.

    Attributes:
        name: what people call it; unique within a table.
        value: the integer that stands for it in masks, 1 or more.
        colour: ``#rrggbb``.
        code: coding scheme, value and meaning, such as ``("SCT", "10200004", "Liver")``.
        side: left, right or none.
        aliases: what else files call it; ``*`` and ``?`` stand for any letters, case is ignored.
    """

    name: str
    value: int
    colour: str
    code: tuple[str, str, str] | None = None
    side: Side = Side.NONE
    aliases: tuple[str, ...] = ()

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green and blue, 0 to 255.

        >>> Label("liver", 1, "#dd8265").rgb
        (221, 130, 101)
        """
        return rgb_of(self.colour)

    def is_called(self, name: str) -> bool:
        """Whether a file's name for a structure means this label.

        Case, blanks, ``_`` and ``-`` make no difference.

        >>> Label("left kidney", 1, "#ff0000", aliases=("kidney*l",)).is_called("Kidney_L")
        True
        """
        spelled = plain_name(name)
        if spelled == plain_name(self.name):
            return True
        return any(fnmatchcase(spelled, plain_name(alias)) for alias in self.aliases)


@dataclass(frozen=True)
class Region:
    """A union of labels that a network predicts as one (whole tumour = oedema + core)."""

    name: str
    values: tuple[int, ...]


def label_from_card(name: str, entry: Any, position: int, side: Side = Side.NONE) -> Label:
    """A label from its card entry: a value, or a mapping with value, colour, code and side.

    Args:
        name: of the label.
        entry: what the card says of it.
        position: among the card's labels, for its colour.
        side: what its name says beside the others, where neither entry nor code says one.

    Raises:
        BadLabels: the entry does not describe a label.
    """
    if not isinstance(entry, Mapping):
        entry = {"value": entry}
    unknown = sorted(set(entry) - {"value", "colour", "code", "side", "aliases"})
    if unknown or "value" not in entry:
        raise BadLabels(
            f"label {name!r} is not described as expected",
            found=dict(entry),
            expected="{value: 1, colour: '#dd8265', code: [SCT, …], side: left}",
        )
    colour = str(entry.get("colour") or _default_colour(position))
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", colour):
        raise BadLabels(f"label {name!r} has no readable colour", found=colour, expected="#rrggbb")
    code = entry.get("code")
    if code is not None and (not isinstance(code, list | tuple) or len(code) != 3 or not all(code)):
        raise BadLabels(
            f"label {name!r} has an incomplete code",
            found=code,
            expected="[scheme, value, meaning]",
        )
    said = entry.get("side")
    if said is not None and said not in list(Side):
        raise BadLabels(f"label {name!r} has an unknown side", found=said, expected=[*Side])
    if said is None and side is Side.NONE and code is not None:
        side = side_of(str(code[2]))
    aliases = entry.get("aliases") or ()
    if isinstance(aliases, str):
        aliases = (aliases,)
    if not isinstance(aliases, list | tuple) or not all(map(str, aliases)):
        raise BadLabels(f"label {name!r} has no readable aliases", found=aliases)
    return Label(
        name,
        integer(entry["value"], name),
        colour.lower(),
        None if code is None else (str(code[0]), str(code[1]), str(code[2])),
        side if said is None else Side(said),
        tuple(map(str, aliases)),
    )


def integer(value: Any, name: object) -> int:
    """The value itself.

    Raises:
        BadLabels: it is no integer.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadLabels(f"the value of {name!r} is not an integer", found=repr(value))
    return value


def rgb_of(colour: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of ``#rrggbb``."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def plain_name(name: str) -> str:
    """A name for comparing: composed, lower case, with single blanks between words."""
    composed = unicodedata.normalize("NFC", name).casefold()
    return " ".join(re.split(r"[\s_\-]+", composed)).strip()


def is_generic(name: str) -> bool:
    """Whether a program gave a name by itself: ``Segment_1``, ``label 3``, ``2``.

    >>> is_generic("Segment_1"), is_generic("lesion")
    (True, False)
    """
    return re.fullmatch(r"((segment|label|roi|structure)\s*)?\d*", plain_name(name)) is not None


def _default_colour(position: int) -> str:
    """Well separated hues of equal strength: steps of the golden angle."""
    hue = (0.05 + position * 0.61803399) % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, 0.55, 0.65)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
