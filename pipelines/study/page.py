"""Lays the study out as a page of sentences, tables and pictures, in Markdown and HTML."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg.writers.atomic import atomic_path


@dataclass(frozen=True)
class Table:
    """Columns and rows of text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture: its file's name, its content (SVG or PNG) and what it shows."""

    name: str
    content: bytes
    alt: str


@dataclass(frozen=True)
class Section:
    """One question: its heading, its sentences, its tables and its pictures."""

    title: str
    parts: tuple[str | Table | Figure, ...] = field(default_factory=tuple)


def markdown(title: str, sections: Sequence[Section], pictures: str) -> str:
    """The page for the site; pictures are named relative to it."""
    lines = [f"# {title}", ""]
    for section in sections:
        lines += [f"## {section.title}", ""] if section.title else []
        for part in section.parts:
            lines += [_as_markdown(part, pictures), ""]
    return "\n".join(lines).rstrip() + "\n"


def _as_markdown(part: str | Table | Figure, pictures: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Figure):
        return f"![{part.alt}]({pictures}/{part.name})\n\n*{part.alt}.*"
    rule = "|".join(["---", *["---:"] * (len(part.columns) - 1)])
    rows = [" | ".join(row) for row in (part.columns, *part.rows)]
    table = "\n".join([f"| {rows[0]} |", f"|{rule}|", *(f"| {row} |" for row in rows[1:])])
    return f"{part.caption}\n\n{table}" if part.caption else table


STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff }
table { border-collapse: collapse; font-size: 0.85rem; margin: 1rem 0; display: block;
        overflow-x: auto }
th, td { border-bottom: 1px solid #ddd; padding: 0.25rem 0.6rem; text-align: right }
th:first-child, td:first-child { text-align: left }
img { max-width: 100% } code, pre { background: #f4f4f4; padding: 0.1rem 0.25rem }
pre { padding: 0.6rem; overflow-x: auto }
"""


def report(title: str, sections: Sequence[Section]) -> str:
    """The same as one file that needs nothing else."""
    body = [f"<h1>{html.escape(title)}</h1>"]
    for section in sections:
        body += [f"<h2>{html.escape(section.title)}</h2>"] if section.title else []
        body += [_as_html(part) for part in section.parts]
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>'


def _as_html(part: str | Table | Figure) -> str:
    if isinstance(part, Figure):
        kind = "png" if part.content.startswith(b"\x89PNG") else "svg+xml"
        data = base64.b64encode(part.content).decode()
        alt = html.escape(part.alt)
        image = f'<img alt="{alt}" src="data:image/{kind};base64,{data}">'
        return f"<p>{image}<br><i>{alt}.</i></p>"
    if isinstance(part, str):
        return _text(part)
    head = "".join(f"<th>{_inline(cell)}</th>" for cell in part.columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{_inline(cell)}</td>" for cell in row) + "</tr>" for row in part.rows
    )
    caption = f"<p>{_inline(part.caption)}</p>" if part.caption else ""
    return f"{caption}<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _text(text: str) -> str:
    """A paragraph, a list or a block of commands."""
    if text.startswith("```"):
        return f"<pre>{html.escape(text.strip('`').removeprefix('sh').strip())}</pre>"
    if text.startswith("- "):
        items = "".join(f"<li>{_inline(line[2:])}</li>" for line in text.splitlines())
        return f"<ul>{items}</ul>"
    return f"<p>{_inline(text)}</p>"


def _inline(text: str) -> str:
    escaped = html.escape(text)
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
    escaped = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", escaped)
    return re.sub(r"\[([^\]]+)\]\(([^)]+)\)", r'<a href="\2">\1</a>', escaped)


def write_page(page: Path, title: str, sections: Sequence[Section], pictures: str) -> None:
    """Write the Markdown and its pictures beside it."""
    folder = page.parent / pictures
    folder.mkdir(parents=True, exist_ok=True)
    for section in sections:
        for part in section.parts:
            if isinstance(part, Figure):
                with atomic_path(folder / part.name) as temporary:
                    temporary.write_bytes(part.content)
    with atomic_path(page) as temporary:
        temporary.write_text(markdown(title, sections, pictures), encoding="utf-8")


def write_report(path: Path, title: str, sections: Sequence[Section]) -> None:
    """Write the self-contained page."""
    with atomic_path(path) as temporary:
        temporary.write_text(report(title, sections), encoding="utf-8")
