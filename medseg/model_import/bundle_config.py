"""The configuration of a MONAI bundle as data: references followed, nothing run.

Expressions after ``$`` whose form is known (:mod:`medseg.model_import.bundle_expressions`) have
values; every other is refused where its value is needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.errors import BadModel
from medseg.model_import.bundle_expressions import REFERENCE, UnknownExpression, value_of

#: Of a component, what says nothing of its result: texts, and what is to run before it.
_ASIDE = ("_desc_", "_mode_", "_requires_")

#: References followed in one configuration; those that double at each step have no end.
_MOST_REFERENCES = 10_000


@dataclass(frozen=True)
class Configuration:
    """A configuration of MONAI: nested mappings and lists, with references and expressions.

    Attributes:
        path: where it was read, for refusals.
        values: as written.
        followed: references so far.
    """

    path: Path
    values: Mapping[str, Any]
    followed: list[str] = field(default_factory=list)

    def plain(self, value: Any, of: str, below: tuple[str, ...] = ()) -> Any:
        """A value with its references resolved.

        Args:
            value: as written.
            of: whose value it is, for refusals.
            below: references that led here.

        Raises:
            BadModel: an expression that is not known, or a reference to nothing or in a circle.
        """
        if isinstance(value, Mapping):
            if "_target_" in value:
                raise self.refused(f"{of} is an object, not a value", found=value["_target_"])
            return {key: self.plain(inner, f"{of}.{key}", below) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.plain(inner, of, below) for inner in value]
        if not isinstance(value, str) or not value.startswith(("$", "@", "%")):
            return value
        text = value.removeprefix("$").strip()
        if REFERENCE.fullmatch(text):
            return self._referred(text, of, below)
        if value.startswith("$"):
            try:
                return value_of(text, lambda name: self._referred(name, of, below))
            except UnknownExpression:
                pass
        raise self.refused(
            f"{of} is an expression, and none are run",
            found=value,
            remedy="Write its value into a copy of the configuration.",
        )

    def _referred(self, reference: str, of: str, below: tuple[str, ...]) -> Any:
        if reference in below:
            raise self.refused(f"{of} refers to itself", found=reference)
        self.followed.append(reference)
        if len(self.followed) > _MOST_REFERENCES:
            raise self.refused(
                f"{of} needs more references than any configuration has",
                expected=f"at most {_MOST_REFERENCES}",
            )
        return self.plain(self.at(reference[1:], of), of, (*below, reference))

    def at(self, identifier: str, of: str) -> Any:
        """What stands at an identifier such as ``preprocessing#transforms#0``, as written.

        Raises:
            BadModel: nothing.
        """
        value: Any = self.values
        for part in re.split("#|::", identifier):
            if isinstance(value, list) and part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            elif isinstance(value, Mapping) and part in value:
                value = value[part]
            else:
                raise self.refused(f"{of} refers to what is not there", found=f"@{identifier}")
        return value

    def component(self, value: Any, of: str) -> dict[str, Any]:
        """A mapping with a ``_target_``, by its own words or through references.

        Raises:
            BadModel: it is something else, or not always switched on.
        """
        seen: set[str] = set()
        while isinstance(value, str) and REFERENCE.fullmatch(value.removeprefix("$").strip()):
            text = value.removeprefix("$").strip()
            if text in seen:
                raise self.refused(f"{of} refers to itself", found=value)
            seen.add(text)
            value = self.at(text[1:], of)
        if not isinstance(value, Mapping) or not isinstance(value.get("_target_"), str):
            raise self.refused(
                f"{of} is no component that is known here",
                found=repr(value)[:120],
                expected="a mapping with _target_",
            )
        if value.get("_mode_", "default") != "default":
            raise self.refused(f"{of} has a _mode_ of its own", found=value["_mode_"])
        return {key: inner for key, inner in value.items() if key not in _ASIDE}

    def refused(
        self, problem: str, *, found: object = None, expected: object = None, remedy: str = ""
    ) -> BadModel:
        """A refusal that names the file."""
        return BadModel(
            problem, path=self.path, found=found, expected=expected, remedy=remedy or None
        )


def target_name(target: str) -> str:
    """A class's own name if it is one of MONAI's, else the whole path.

    >>> target_name("monai.networks.nets.UNet"), target_name("scripts.UNet")
    ('UNet', 'scripts.UNet')
    """
    return target.rpartition(".")[2] if target.startswith("monai.") else target
