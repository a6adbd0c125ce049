"""JSON that tools and medseg itself leave in folders, read so that damage is a refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medseg.errors import BadConfig, MedsegError
from medseg.files import read_text


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    >>> parse_json('{"step": 3}')
    {'step': 3}

    Raises:
        ValueError: the text is no JSON, or nested without end.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def load_json(
    path: Path, *, refusal: type[MedsegError] = BadConfig, remedy: str | None = None
) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.
        refusal: the kind of error to raise.
        remedy: what to do about a file that cannot be used.

    Raises:
        MedsegError: of the kind `refusal`: the file is missing or holds something else.
    """
    try:
        content = parse_json(read_text(path))
    except FileNotFoundError:
        raise refusal("no such file", path=path, remedy=remedy) from None
    except (OSError, ValueError) as error:
        raise refusal("the file is not JSON", path=path, found=error, remedy=remedy) from None
    if not isinstance(content, dict):
        raise refusal(
            "the file holds no JSON object",
            path=path,
            found=type(content).__name__,
            remedy=remedy,
        )
    return content
