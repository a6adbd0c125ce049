"""A page from a template: everything inlined, nothing a name could inject."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from medseg.writers.atomic import atomic_path


@dataclass(frozen=True)
class Picture:
    """An image that stands inside the page.

    Attributes:
        data_uri: ``data:image/…``; an image never runs scripts.
        alt: what it shows, for those who do not see it.
        caption: under it; empty for none.
        files: what is written of it beside the page, by name.
    """

    data_uri: str
    alt: str
    caption: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)


def picture(
    content: bytes, *, alt: str, caption: str = "", files: Mapping[str, bytes] | None = None
) -> Picture:
    """A PNG or SVG, inlined."""
    return Picture(data_uri(content), alt, caption, files or {})


def data_uri(content: bytes) -> str:
    """A PNG, JPEG or SVG as an address that holds it.

    >>> data_uri(b"<svg/>")
    'data:image/svg+xml;base64,PHN2Zy8+'
    """
    starts = {b"\x89PNG": "png", b"\xff\xd8": "jpeg"}
    kind = next((kind for start, kind in starts.items() if content.startswith(start)), "svg+xml")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def write_page(path: Path, template: str, values: Mapping[str, Any]) -> None:
    """Render a template of ``reports/templates`` into one self-contained file."""
    text = _environment().get_template(template).render(**values)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("medseg.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
