"""YAML read strictly: no key twice, no exploding aliases, limits stated in every refusal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from medseg.errors import BadConfig
from medseg.files import read_text

#: Characters of a file; a model's card with the hashes of 50,000 scans has 4 million.
MOST_CHARACTERS = 8_000_000

#: Lists and mappings inside one another.
MOST_LEVELS = 40

#: Keys and values of a file; each takes half a kilobyte of memory until it is understood.
MOST_VALUES = 300_000

#: Values that aliases (``*name``) may stand for, all together.
MOST_ALIASED = 10_000

#: Beyond this an integer is no count, label or seed.
MOST_INTEGER = 2**63


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping. Dates stay text.

    Raises:
        BadConfig: the file is missing, not YAML, not a mapping, gives a key twice, or passes one
            of the limits of this module.
    """
    try:
        text = read_text(path, most=4 * MOST_CHARACTERS)
    except FileNotFoundError:
        raise BadConfig("no such file", path=path, remedy="Check the path.") from None
    except (OSError, ValueError) as error:
        found = getattr(error, "strerror", None) or error
        raise BadConfig("the file cannot be read", path=path, found=found) from None
    content = parse_yaml(text, path=path)
    if not isinstance(content, dict):
        raise BadConfig("not a mapping of keys to values", path=path, found=type(content).__name__)
    return content


def parse_yaml(text: str, *, path: Path | None = None) -> Any:
    """The value of a YAML text.

    >>> parse_yaml("[1, 2.5, 2024-02-31]")
    [1, 2.5, '2024-02-31']

    Raises:
        BadConfig: as `load_yaml`.
    """
    if len(text) > MOST_CHARACTERS:
        raise BadConfig(
            "the file is too long",
            path=path,
            found=f"{len(text)} characters",
            expected=f"at most {MOST_CHARACTERS}",
        )
    try:
        _check_structure(text)
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - derived from the safe one
    except _Refused as error:
        raise BadConfig(error.problem, path=path, expected=error.expected) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark is not None else "the file"
        raise BadConfig(
            f"{where} is not YAML",
            path=path,
            found=getattr(error, "problem", None) or "unreadable text",
        ) from None
    except (
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        RecursionError,
        AttributeError,
    ) as error:
        raise BadConfig(
            "a value cannot be understood", path=path, found=str(error).split("\n")[0][:120]
        ) from None


#: YAML counts leading zeros in eights and colons in sixties.
_UNLIKE_IT_READS = re.compile(r"[-+]?(0[0-7_]+$|[0-9_]+:)")


class _Refused(Exception):
    def __init__(self, problem: str, expected: str | None = None) -> None:
        super().__init__(problem)
        self.problem, self.expected = problem, expected


def _check_structure(text: str) -> None:
    """Refuse nesting and aliases beyond the limits, before anything is built."""
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    count = aliased = 0
    for event in yaml.parse(text, Loader=_Parser):
        line = event.start_mark.line + 1 if event.start_mark is not None else 0
        if count > MOST_VALUES:
            raise _Refused("the file holds too many values", f"at most {MOST_VALUES}")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise _Refused(f"line {line}: the alias *{event.anchor} stands for nothing yet")
            aliased += sizes[event.anchor]
            count += sizes[event.anchor]
            if aliased > MOST_ALIASED:
                raise _Refused(
                    f"line {line}: aliases stand for too many values", f"at most {MOST_ALIASED}"
                )
        elif isinstance(event, yaml.ScalarEvent):
            count += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, count))
            if len(open_nodes) > MOST_LEVELS:
                raise _Refused(f"line {line} is nested too deeply", f"at most {MOST_LEVELS} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            count += 1
            if anchor:
                sizes[anchor] = count - before


_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StrictLoader(_Parser):  # type: ignore[misc]
    """Safe YAML in which a key occurs once, an integer has 64 bits and a date is text."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """A mapping; refuses a key that stands twice, and says on which lines."""
        lines: dict[Any, int] = {}
        for key_node, _ in getattr(node, "value", ()):
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            is_merge = key_node.value == "<<"
            key = "<<" if is_merge else self.construct_object(key_node)
            line = key_node.start_mark.line + 1
            if key in lines:
                raise _Refused(
                    f"the key {str(key)[:60]!r} occurs twice, on lines {lines[key]} and {line}"
                    if line != lines[key]
                    else f"the key {str(key)[:60]!r} occurs twice, on line {line}",
                    "every key once",
                )
            lines[key] = line
        return super().construct_mapping(node, deep=deep)

    def construct_yaml_map(self, node: Any) -> Any:
        """Through `construct_mapping`, which the base class does only later."""
        content: dict[Any, Any] = {}
        yield content
        content.update(self.construct_mapping(node))

    def construct_yaml_int(self, node: Any) -> Any:
        """An integer of 64 bits, written in tens or as 0x…."""
        if _UNLIKE_IT_READS.match(node.value):
            raise _Refused(
                f"line {node.start_mark.line + 1}: {node.value[:20]!r} is not the number that it"
                " looks like in YAML",
                "a number without leading zeros or colons, or text in quotes",
            )
        value = super().construct_yaml_int(node)
        if abs(value) >= MOST_INTEGER:
            raise _Refused(
                f"line {node.start_mark.line + 1}: the integer {node.value[:20]}… is too large",
                "64 bits",
            )
        return value


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _StrictLoader.construct_yaml_map)
_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_yaml_int)
_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if not tag.endswith(":timestamp")]
    for first, rules in _Parser.yaml_implicit_resolvers.items()
}
