"""A config in the making: settings that a plan chooses, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from medseg.config import TrainConfig


@dataclass
class Choices:
    """A config in the making, and why each part of it is so.

    Attributes:
        values: plain nested values of a TrainConfig.
        reasons: dotted key -> why.
    """

    values: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def choose(self, key: str, value: Any, why: str = "") -> None:
        """Set a dotted key."""
        *parents, last = key.split(".")
        target = self.values
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = value
        if why:
            self.reasons[key] = why

    def keep(self, section: str, name: str, why: str = "") -> None:
        """Write out a setting as the config has it by default, for a person to see and change."""
        options = TrainConfig.model_fields[section].annotation
        default = options.model_fields[name].get_default()  # type: ignore[union-attr]
        self.choose(f"{section}.{name}", default, why)


def neat(value: float) -> float:
    """Three significant digits: a person can read it, and no scan is measured better."""
    return float(f"{float(value):.3g}")
