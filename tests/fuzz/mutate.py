"""Damages a file, or a member of an archive: flipped bits, cut ends, moved blocks, odd numbers."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import zipfile
from collections.abc import Callable

Mutation = Callable[[bytearray, random.Random], bytearray]

_ABSURD = (
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\xff\xff",
    b"\0\0",
    b"\1\0\0\0",
    b"\xfe\xff\xff\xff",
)


def _place(content: bytearray, chance: random.Random) -> int:
    """Mostly within the header, where damage matters most."""
    limit = min(len(content), 4096) if chance.random() < 0.7 else len(content)
    return chance.randrange(max(1, limit))


def flip_bits(content: bytearray, chance: random.Random) -> bytearray:
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        content[_place(content, chance)] ^= 1 << chance.randrange(8)
    return content


def cut_end(content: bytearray, chance: random.Random) -> bytearray:
    return content[: _place(content, chance)]


def absurd_number(content: bytearray, chance: random.Random) -> bytearray:
    place, value = _place(content, chance) & ~1, chance.choice(_ABSURD)
    content[place : place + len(value)] = value
    return content


def random_block(content: bytearray, chance: random.Random) -> bytearray:
    place, size = _place(content, chance), chance.choice((1, 2, 4, 8, 64, 512))
    content[place : place + size] = chance.randbytes(size)
    return content


def drop_block(content: bytearray, chance: random.Random) -> bytearray:
    place = _place(content, chance)
    del content[place : place + chance.choice((1, 2, 4, 8, 20, 100))]
    return content


def repeat_block(content: bytearray, chance: random.Random) -> bytearray:
    place, size = _place(content, chance), chance.choice((1, 2, 8, 20, 100))
    content[place:place] = content[place : place + size] * chance.choice((1, 2, 50))
    return content


def swap_blocks(content: bytearray, chance: random.Random) -> bytearray:
    size = chance.choice((2, 4, 8, 16, 64))
    one, other = sorted((_place(content, chance), _place(content, chance)))
    a, b = content[one : one + size], content[other : other + size]
    content[one : one + size], content[other : other + size] = b, a
    return content


def change_digits(content: bytearray, chance: random.Random) -> bytearray:
    """Numbers written as text: positions, spacings, orientations."""
    digits = [i for i, byte in enumerate(content[:8192]) if 48 <= byte <= 57]
    for _ in range(chance.choice((1, 2, 5))):
        if digits:
            content[chance.choice(digits)] = ord(chance.choice("0123456789-.eE\\ n"))
    return content


MUTATIONS: dict[str, Mutation] = {
    "flip bits": flip_bits,
    "cut end": cut_end,
    "absurd number": absurd_number,
    "random block": random_block,
    "drop block": drop_block,
    "repeat block": repeat_block,
    "swap blocks": swap_blocks,
    "change digits": change_digits,
}


def mutate(content: bytes, chance: random.Random) -> tuple[str, bytes]:
    """One damaged copy and what was done to it; packed files are often opened and packed again."""
    if content[:4] == b"PK\x03\x04" and chance.random() < 0.7:
        return _in_zip(content, chance)
    if content[257:262] == b"ustar" and chance.random() < 0.7:
        return _in_tar(content, chance)
    name = chance.choice(list(MUTATIONS))
    packed = content[:2] == b"\x1f\x8b" and chance.random() < 0.8
    plain = bytearray(gzip.decompress(content) if packed else content)
    damaged = bytes(MUTATIONS[name](plain, chance)) if plain else b""
    return name, gzip.compress(damaged, 1) if packed else damaged


def _in_zip(content: bytes, chance: random.Random) -> tuple[str, bytes]:
    """An intact zip with one damaged member, whose sum is right."""
    with zipfile.ZipFile(io.BytesIO(content)) as box:
        members = [(name, box.read(name)) for name in box.namelist()]
    victim = chance.randrange(len(members))
    name, damaged = mutate(members[victim][1], chance)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as box:
        for number, (member, whole) in enumerate(members):
            box.writestr(member, damaged if number == victim else whole)
    return name, packed.getvalue()


def _in_tar(content: bytes, chance: random.Random) -> tuple[str, bytes]:
    """An intact tar with one damaged member."""
    with tarfile.open(fileobj=io.BytesIO(content)) as box:
        members = [(e.name, box.extractfile(e).read()) for e in box if e.isreg()]
    victim = chance.randrange(len(members))
    name, damaged = mutate(members[victim][1], chance)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as box:
        for number, (member, whole) in enumerate(members):
            entry = tarfile.TarInfo(member)
            entry.size = len(damaged if number == victim else whole)
            box.addfile(entry, io.BytesIO(damaged if number == victim else whole))
    return name, packed.getvalue()
