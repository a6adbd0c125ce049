"""The components of a MONAI configuration, one by one, with arguments as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medseg.errors import BadModel
from medseg.model_import.bundle_config import Configuration, target_name
from medseg.model_import.bundle_expressions import REFERENCE

#: Arguments that change no voxel.
_HARMLESS_WORDS = """
    _target_ _disabled_ keys allow_missing_keys lazy device to_tensor track_meta print_log meta_keys
    meta_key_postfix orig_keys orig_meta_keys image_only reader ensure_channel_first simple_keys
    strict_check data_type wrap_sequence ensure_same_shape align_corners
"""
_OF_NO_MATTER = frozenset(_HARMLESS_WORDS.split())


@dataclass(frozen=True)
class Step:
    """One component of a configuration.

    Attributes:
        name: of its class.
        section: of the configuration.
        arguments: as written.
        configuration: where it stands.
    """

    name: str
    section: str
    arguments: dict[str, Any]
    configuration: Configuration

    def value(self, argument: str, default: Any = None) -> Any:
        """An argument as a plain value; a list of one is that one.

        Raises:
            BadModel: it is an expression.
        """
        written = self.arguments.get(argument, default)
        plain = self.configuration.plain(written, f"{self.name}.{argument}")
        return plain[0] if isinstance(plain, list) and len(plain) == 1 else plain

    @property
    def is_disabled(self) -> bool:
        """What ``_disabled_`` says; of texts, as MONAI does, only ``true`` switches off."""
        value = self.value("_disabled_", default=False)
        return value.strip().lower() == "true" if isinstance(value, str) else bool(value)

    def expect(self, **expected: Any) -> None:
        """Refuse arguments of other values; one that is left out has MONAI's default."""
        for argument, value in expected.items():
            actual = self.value(argument, value)
            if actual != value:
                raise self.refused(
                    f"{self.name} with this {argument} is not known here",
                    found=actual,
                    expected=value,
                )

    def only(self, *known: str) -> None:
        """Refuse arguments that are neither known nor of no matter."""
        unknown = sorted(set(self.arguments) - set(known) - _OF_NO_MATTER)
        if unknown:
            raise self.refused(
                f"{self.name} has arguments that are not known here", found=", ".join(unknown)
            )

    def refused(self, problem: str, *, found: object = None, expected: object = None) -> BadModel:
        """A refusal that names the file and the section."""
        return self.configuration.refused(
            f"{self.section}: {problem}", found=found, expected=expected
        )


def steps_of(configuration: Configuration, section: str) -> list[Step]:
    """The transforms of a section that are switched on, in order.

    Raises:
        BadModel: it is missing, no ``Compose``, or works on several keys.
    """
    if section not in configuration.values:
        raise configuration.refused(f"there is no {section}", expected="a Compose of transforms")
    chain = step_of(configuration, configuration.values[section], section)
    if chain.name != "Compose":
        raise chain.refused(f"{chain.name} is not known here", expected="Compose")
    written = _joined(configuration, chain.arguments.get("transforms", []), section)
    if not isinstance(written, list):
        raise chain.refused("transforms are no list", found=repr(written)[:120])
    steps = [step_of(configuration, each, section) for each in written]
    steps = [step for step in steps if not step.is_disabled]
    keys = {str(step.value("keys")) for step in steps if "keys" in step.arguments}
    if len(keys) > 1:
        raise chain.refused(
            "transforms work on several keys", found=", ".join(sorted(keys)), expected="one key"
        )
    return steps


def _joined(configuration: Configuration, written: Any, section: str) -> Any:
    """A list of transforms as written, or what ``@one`` or ``$@one + @other`` refer to."""
    if not isinstance(written, str):
        return written
    names = [part.strip() for part in written.removeprefix("$").split("+")]
    if not all(REFERENCE.fullmatch(name) for name in names):
        return written
    parts = [configuration.at(name[1:], section) for name in names]
    lists = [part for part in parts if isinstance(part, list)]
    return [step for part in lists for step in part] if len(lists) == len(parts) else written


def step_of(configuration: Configuration, value: Any, section: str) -> Step:
    """A component of a section."""
    arguments = configuration.component(value, section)
    return Step(target_name(arguments["_target_"]), section, arguments, configuration)
