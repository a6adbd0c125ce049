"""Damages a text file: values of other kinds, paths that lead out, lost lines, no text at all."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from tests.fuzz.mutate import MUTATIONS

Mutation = Callable[[bytes, random.Random], bytes]

#: Values that no reader expects at their place.
NASTY = (
    "",
    "null",
    "~",
    "true",
    "no",
    "[]",
    "{}",
    "[[]]",
    "{a: {}}",
    "0",
    "-1",
    "-0.0",
    "1e999",
    ".nan",
    "NaN",
    "Infinity",
    "-.inf",
    "1_000",
    "0x41",
    "1e400",
    "99999999999999999999999",
    "4294967296",
    "9223372036854775807",
    "1,5",
    "2024-02-31",
    "12:30:00",
    "'",
    '"',
    "''",
    "|",
    "&a",
    "*a",
    "!!int x",
    "!!python/object/apply:os.system ['true']",
    "../outside",
    "../../outside/precious.txt",
    "/dev/zero",
    "/dev/stdin",
    "/proc/self/mem",
    "/nowhere/at/all",
    ".",
    "..",
    "a/b",
    "a\\b",
    "CON",
    "x" * 300,
    "x" * 70_000,
    "é",
    "e\u0301",
    "中文",
    "\u202eevil",
    "\x00",
    "\x1b[31m",
    "\ud7ff",
    "=cmd|' /C calc'!A0",
    "%s%s%n",
    "${HOME}",
    "$(touch outside)",
    "<script>",
    "\n",
    "\r",
    "\t",
    ",",
    ";",
    ":",
    ": :",
    "- -",
    "#",
    "{{",
    "[1, 2",
    "1e-320",
    "-9",
    "256",
    "1.5",
    "[1]",
    "[a, b]",
    "[-1, 0, 3]",
    "[0, 0, 0]",
    "[1000000, 1000000, 1000000]",
    "{name: x, options: {}}",
)

_TOKEN = re.compile(r"[^\s,:;{}\[\]\"]+")


def replace_value(content: bytes, chance: random.Random) -> bytes:
    """One word becomes something else, the most telling damage."""
    text = content.decode("utf-8", "surrogateescape")
    tokens = list(_TOKEN.finditer(text))
    for token in sorted(
        chance.sample(tokens, min(len(tokens), chance.choice((1, 1, 1, 2)))),
        key=lambda found: -found.start(),
    ):
        other = chance.choice(tokens)[0] if chance.random() < 0.2 else chance.choice(NASTY)
        text = text[: token.start()] + other + text[token.end() :]
    return text.encode("utf-8", "surrogateescape")


def move_lines(content: bytes, chance: random.Random) -> bytes:
    """Lines are lost, doubled, changed with another, or moved to the right."""
    lines = content.split(b"\n")
    for _ in range(chance.choice((1, 1, 2, 4))):
        one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
        match chance.randrange(5):
            case 0 if len(lines) > 1:
                del lines[one]
            case 1:
                lines.insert(other, lines[one])
            case 2:
                lines[one], lines[other] = lines[other], lines[one]
            case 3:
                lines[one] = b" " * chance.choice((1, 2, 4)) + lines[one]
            case _:
                lines[one] = lines[one].lstrip()
    return b"\n".join(lines)


def other_encoding(content: bytes, chance: random.Random) -> bytes:
    """Saved by another program."""
    text = content.decode("utf-8", "replace")
    match chance.randrange(8):
        case 0:
            return text.encode("utf-16")
        case 1:
            return text.encode("utf-8-sig")
        case 2:
            return text.replace("\n", "\r\n").encode()
        case 3:
            return text.replace("\n", "\r").encode()
        case 4:
            return text.replace(",", ";").encode()
        case 5:
            return text.replace("a", "ä").encode("latin-1", "replace")
        case 6:
            return text.encode("utf-16-le")
        case _:
            return text.encode("utf-32")


def deepen(content: bytes, chance: random.Random) -> bytes:
    """Nesting without end, aliases that explode, a cell or a number of a million characters."""
    place = chance.randrange(len(content) + 1)
    depth = chance.choice((50, 1000, 100_000))
    more = (
        b"[" * depth,
        b"{a: " * depth,
        b"[" * depth + b"]" * depth,
        b'{"a":' * depth,
        b"1" * 10 * depth,
        b"\n" * depth,
        b"- " * depth,
        b'"' + b"x" * depth,
        b"\na: &a [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n".encode()
            for n in range(9)
        ),
    )
    return content[:place] + chance.choice(more) + content[place:]


def as_bytes(content: bytes, chance: random.Random) -> bytes:
    """As any file is damaged."""
    return bytes(chance.choice(list(MUTATIONS.values()))(bytearray(content), chance))


def empty(content: bytes, chance: random.Random) -> bytes:
    """Nothing, or nothing that can be seen."""
    del content
    return chance.choice(
        (b"", b"\n", b" ", b"\0" * 100, b"\xff\xfe", b"---\n", b"[]", b"{}", b"null")
    )


TEXT_MUTATIONS: dict[str, Mutation] = {
    "replace value": replace_value,
    "move lines": move_lines,
    "other encoding": other_encoding,
    "deepen": deepen,
    "as bytes": as_bytes,
    "empty": empty,
}
_WEIGHTS = (10, 4, 2, 1, 4, 1)


def mutate_text(content: bytes, chance: random.Random) -> tuple[str, bytes]:
    """One damaged copy of a text and what was done to it."""
    (name,) = chance.choices(list(TEXT_MUTATIONS), _WEIGHTS)
    return name, TEXT_MUTATIONS[name](content or b"a", chance)
