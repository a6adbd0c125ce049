"""Write a plan for people: YAML on short lines, each choice under the reason for it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from medseg.planning.planner import Plan
from medseg.writers.atomic import atomic_path

_WIDTH = 96

_ADVICE = (
    "Change what you like: unknown keys are errors, what is left out has its default.",
    "Run it with: medseg train THIS_FILE --output RUN",
)


def write_plan(plan: Plan, path: Path) -> None:
    """Write a config that ``medseg train`` reads and a person understands."""
    with atomic_path(path) as temporary:
        temporary.write_text(plan_text(plan), encoding="utf-8")


def plan_text(plan: Plan) -> str:
    """The content of that file."""
    chosen = plan.config.model_dump(mode="json", exclude_unset=True)
    memory = f"Training takes about {plan.memory_bytes / 1e9:.1f} GB."
    lines = [line for text in (*plan.summary, memory, *_ADVICE) for line in _comment(text, "")]
    for key, value in chosen.items():
        lines += ["", *_entry(key, value, key, plan.reasons, "")]
    return "\n".join(lines) + "\n"


def _entry(
    key: str, value: Any, dotted: str, reasons: Mapping[str, str], indent: str
) -> Iterator[str]:
    if dotted in reasons:
        yield from _comment(reasons[dotted], indent)
    if isinstance(value, Mapping) and value:
        yield f"{indent}{key}:"
        for inner, content in value.items():
            yield from _entry(inner, content, f"{dotted}.{inner}", reasons, indent + "  ")
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        yield f"{indent}{key}:"
        yield from (f"{indent}  - {_flow(item)}" for item in value)
    else:
        yield f"{indent}{key}: {_flow(value)}"


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _comment(text: str, indent: str) -> list[str]:
    start = f"{indent}# "
    return textwrap.wrap(text, _WIDTH, initial_indent=start, subsequent_indent=start)
