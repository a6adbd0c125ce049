"""Parses arguments of the command line: models, scans, settings, sizes and choices."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.errors import BadConfig

if TYPE_CHECKING:
    from medseg.config import TrainConfig

#: Larger numbers are a slip, with or without a unit.
_MOST_NUMBER = 1e15
#: Fewer bytes than this are no limit that anyone wants: a unit was forgotten.
_FEWEST_BYTES = 1_000_000


def split_words(words: list[Path]) -> tuple[list[Path], list[Path], list[str]]:
    """Model folders, scans, and settings (``key=value``) among the words of a call.

    A folder with a ``model.yaml`` is a model. A word such as ``tta=none`` is a setting, unless
    a file has that name.

    Raises:
        BadConfig: there is no model, or nothing to segment.

    >>> split_words([Path("tta=none")])
    Traceback (most recent call last):
    medseg.errors.BadConfig: no model given; expected a folder with a model.yaml, such as RUN/model
    """
    assignments = [str(word) for word in words if _is_assignment(word)]
    places = [word for word in words if str(word) not in assignments]
    models = [path for path in places if _is_model(path)]
    scans = [path for path in places if path not in models]
    if not models:
        raise BadConfig(
            "no model given",
            found=", ".join(map(_described, places)) or None,
            expected="a folder with a model.yaml, such as RUN/model",
        )
    if not scans:
        raise BadConfig("nothing to segment", found="models only", expected="MODEL… SCAN…")
    return models, scans, assignments


def _is_assignment(word: Path) -> bool:
    return bool(re.match(r"[A-Za-z_.]+=", str(word))) and not os.path.lexists(word)


def _described(path: Path) -> str:
    """A path and what it is, where that is known."""
    from medseg.config.kinds import kind_of

    kind = kind_of(path)
    return str(path) if kind is None else f"{path} ({kind})"


def _is_model(path: Path) -> bool:
    try:
        return (path / "model.yaml").is_file()
    except (OSError, ValueError):
        return False  # a name that no folder has


def train_config(path: Path, assignments: list[str]) -> TrainConfig:
    """The config in a file, with ``key=value`` changes.

    Raises:
        BadConfig: it cannot be read, or is something else, such as a card, or a value is wrong.
    """
    from medseg.config import TrainConfig, load_yaml, override, validate
    from medseg.config.kinds import Kind, refuse_other_kinds

    refuse_other_kinds(path, Kind.CONFIG)
    return validate(TrainConfig, override(load_yaml(path), assignments), path=str(path))


def volume_choice(text: str | None) -> int | str | None:
    """The volume that ``--volume`` names: a number from 0, or ``all``.

    Raises:
        BadConfig: the text is neither.
    """
    if text is None or text == "all":
        return text
    if not (text.isascii() and text.isdigit()):
        raise BadConfig("no such volume", found=repr(text), expected="a number from 0, or all")
    return int(text)


def size_bytes(text: str | None) -> int | None:
    """Bytes of ``4GB``, ``3.5 GiB`` or ``4e9``.

    Raises:
        BadConfig: the text is no size.
    """
    if text is None:
        return None
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([kmgt]?)(i?)b?\s*", text.lower())
    try:
        number = float(match[1]) if match else 0.0
    except ValueError:
        number = 0.0
    if not match or not 0 < number < _MOST_NUMBER:
        raise BadConfig("not a size", found=repr(text), expected="for example 4GB or 500MB")
    if not match[2] and number < _FEWEST_BYTES:
        raise BadConfig(
            "a size without a unit",
            found=repr(text),
            expected="for example 4GB",
            remedy=f"Did you mean {text.strip()}GB?",
        )
    step = 1024 if match[3] else 1000
    return int(number * step ** " kmgt".index(match[2] or " "))


def is_open_to_others(address: str) -> bool:
    """Whether a Dask scheduler at this address may be spoken to by anyone on its network.

    >>> [is_open_to_others(a) for a in ("tcp://head:8786", "tls://head:8786", "127.0.0.1:8786")]
    [True, False, False]
    """
    scheme, _, place = address.rpartition("://")
    host = place.rpartition(":")[0] or place
    loopback = host in ("localhost", "[::1]") or host.startswith("127.")
    return scheme not in ("tls", "wss", "inproc") and not loopback


def require_choice(option: str, word: str, choices: tuple[str, ...]) -> None:
    """Refuse a word that an option does not know.

    Raises:
        BadConfig: it is none of the choices.
    """
    if word not in choices:
        raise BadConfig(
            f"{option} has no such choice", found=repr(word), expected=" or ".join(choices)
        )
