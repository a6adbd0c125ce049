"""Choose the patch, and the network's levels with it: as much of a scan as the budget allows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from medseg.manifests import Cohort
from medseg.planning.affordable import are_too_few
from medseg.planning.cost import Levels, Machine, levels_for
from medseg.planning.fingerprint import CohortLooks
from medseg.planning.memory import StepMemory, step_memory
from medseg.planning.presets import Preset

#: Patches do not get smaller than this along every axis.
SMALLEST_PATCH = 16


def fit_patch(
    shape: Sequence[int], spacing_mm: Sequence[float], voxels: float, preset: Preset
) -> tuple[tuple[int, ...], Levels]:
    """The largest patch within a number of voxels: a whole typical scan, else as cubic as can be.

    Args:
        shape: voxels of a typical scan along the patch's axes.
        spacing_mm: along them.
        voxels: allowed.
        preset: of the network.
    """
    size = [float(n) for n in shape]
    while True:
        levels = levels_for(size, spacing_mm, preset.first, preset.most, preset.deepest)
        patch = tuple(
            d * max(1, math.ceil(n / d - 1e-6)) for n, d in zip(size, levels.divisor, strict=True)
        )
        if math.prod(patch) <= voxels * 1.05 or max(patch) <= SMALLEST_PATCH:
            return patch, levels
        longest = max(range(len(patch)), key=lambda a: (patch[a] * spacing_mm[a], patch[a]))
        if patch[longest] <= SMALLEST_PATCH:
            longest = max(range(len(patch)), key=lambda a: patch[a])
        size[longest] = patch[longest] - levels.divisor[longest]


def affordable_patch(
    cohort: Cohort,
    looks: CohortLooks,
    machine: Machine,
    preset: Preset,
    typical: tuple[list[int], list[float]],
    voxels: float,
) -> tuple[tuple[int, ...], Levels]:
    """The largest patch, and its network, that leaves enough steps and fits a GPU's memory."""
    shape, spacing_mm = typical
    while True:
        patch, levels = fit_patch(shape, spacing_mm, voxels, preset)
        memory = memory_of(cohort, looks, machine, preset, levels)
        size = (preset.batch if len(patch) == 3 else 2) * math.prod(patch)
        fits = machine.kind == "cpu" or memory.bytes_of(size) <= machine.memory_bytes
        steps = machine.steps(cost_of(cohort, levels) * size)
        if (fits and not are_too_few(steps)) or max(patch) <= SMALLEST_PATCH:
            return patch, levels
        voxels *= 0.95


def memory_of(
    cohort: Cohort, looks: CohortLooks, machine: Machine, preset: Preset, levels: Levels
) -> StepMemory:
    """Memory of a step of a preset's network for a cohort."""
    is_partly_known = any(len(case.volumes_ml) < len(cohort.labels.names) for case in looks.cases)
    return step_memory(
        machine,
        levels,
        len(cohort.channels),
        cohort.labels.channels,
        network=preset.network,
        loss="written out" if cohort.labels.regions or is_partly_known else "portions",
    )


def cost_of(cohort: Cohort, levels: Levels) -> float:
    """Multiplications of a forward pass for each voxel of a patch."""
    return levels.macs_a_voxel(len(cohort.channels), cohort.labels.channels)


def why_patch(patch: tuple[int, ...], shape: list[int], levels: Levels) -> str:
    """What of a typical scan a patch shows, in words."""
    size = "×".join(str(n) for n in shape)
    multiple = "×".join(str(n) for n in levels.divisor)
    if all(a >= b for a, b in zip(patch, shape, strict=True)):
        return f"holds a typical scan ({size}) whole, rounded up to multiples of {multiple}"
    share = math.prod(patch) / math.prod(shape)
    return (
        f"what the budget affords: {share:.0%} of a typical scan ({size}), in steps of {multiple}"
    )
