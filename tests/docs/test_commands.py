"""Every command that README and docs show is one that medseg has, with options that it has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from typer.main import get_command

from medseg.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("*/README.md")])
#: Any block of code: fenced, or indented by four blanks.
CODE = re.compile(r"^```\w*\n(.*?)^```|^$\n((?:^ {4}.*\n)+)", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(
    r"^(?: {4})?(?:\$ |srun (?:-\S+ )*|torchrun .* -m )?(medseg [a-z-].*)$", re.MULTILINE
)
FENCE = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(page: Path) -> list[str]:
    """The shell blocks of a page, lines that end in a backslash joined."""
    text = page.read_text(encoding="utf-8")
    return [block.replace("\\\n", " ") for block in FENCE.findall(text)]


def commands() -> list[tuple[str, str]]:
    """Page and command of every line of code, whatever starts it: a prompt, srun, torchrun."""
    return [
        (page.relative_to(ROOT).as_posix(), match[1])
        for page in PAGES
        for block in CODE.findall(page.read_text(encoding="utf-8").replace("\\\n", " "))
        for match in COMMAND.finditer("".join(block))
    ]


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_command_of_the_docs_parses(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    command: click.Command = get_command(app)
    context = click.Context(command, info_name="medseg")
    while isinstance(command, click.Group) and not words[0].startswith("-"):
        name, subcommand, words = command.resolve_command(context, words)
        assert subcommand is not None
        command = subcommand
        context = click.Context(command, info_name=name, parent=context)
    if words not in (["--help"], ["--install-completion"]):
        command.parse_args(context, list(words))


def test_the_docs_show_commands():
    assert len(commands()) > 30


def test_the_readme_takes_a_minute():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 100


def test_every_verb_is_in_the_readme():
    verbs = set(get_command(app).commands)  # type: ignore[attr-defined]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {verb for verb in verbs if f"`{verb}`" not in text} == set()
