"""What matters of a plan, on one screen, and how it differs from another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medseg.config import TrainConfig
from medseg.planning.planner import Plan


def plan_screen(plan: Plan) -> tuple[str, ...]:
    """Spacing, patch, network, steps, memory, and the weakest point in words, a line each."""
    config = plan.config
    spacing = "×".join("own" if mm is None else f"{mm:g}" for mm in config.prepare.spacing_mm)
    features = config.network.options.get("features")
    levels = f", {len(features)} levels of {features[0]} to {features[-1]}" if features else ""
    return (
        f"spacing   {spacing} mm in plane, in plane, through plane",
        f"patch     {'×'.join(map(str, config.patch))} voxels, {plan.share:.0%} of a typical"
        f" {'slice' if config.dims == 2 else 'scan'}; {config.training.batch} a step",
        f"network   {config.network.name} in {config.dims}D{levels}",
        f"training  about {plan.steps} steps in {config.training.minutes:g} minutes",
        f"memory    about {plan.memory_bytes / 1e9:.1f} GB",
        f"weakest   {plan.weakest}",
    )


def plan_differences(plan: TrainConfig, other: TrainConfig) -> tuple[str, ...]:
    """The settings in which two plans differ, a line each: ``key: this | other``."""
    here, there = (dict(_flat(one.model_dump(mode="json"))) for one in (plan, other))
    keys = [key for key in {**here, **there} if here.get(key) != there.get(key)]
    return tuple(f"{key}: {here.get(key)} | {there.get(key)}" for key in sorted(keys))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
