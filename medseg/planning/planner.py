"""Turn what a cohort looks like into a config: every setting chosen for the budget."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medseg.config import THROUGH_PLANE, TrainConfig, validate
from medseg.errors import BadCohort, BadConfig
from medseg.manifests import Cohort
from medseg.planning.affordable import (
    filled_up,
    patches_a_step,
    slices_a_step,
    voxels_a_step,
    voxels_in_time,
)
from medseg.planning.augmentation import choose_augmentation, choose_loss
from medseg.planning.choices import Choices
from medseg.planning.cost import Levels, Machine
from medseg.planning.fingerprint import CohortLooks, median_shape
from medseg.planning.frames import typical_frame
from medseg.planning.intensities import choose_intensities, empty_below, zeros
from medseg.planning.patch import affordable_patch, cost_of, fit_patch, memory_of, why_patch
from medseg.planning.presets import PRESETS, Preset
from medseg.planning.schedule import choose_schedule
from medseg.planning.spacing import affordable_spacing, median_spacing
from medseg.planning.summary import summary_lines
from medseg.planning.weakest import weakest_point

_WHY_FRAME = (
    "directions (R, A, S) of the working axes of a typical scan: its slices lie between two body"
    " planes, and the nearest one would not be the same for all"
)


@dataclass(frozen=True)
class Plan:
    """A complete config and what is to be said of it.

    Attributes:
        config: validated.
        reasons: dotted key -> why it is so.
        summary: what the cohort looks like and for what it was planned, line by line.
        memory_bytes: peak of training, predicted, or measured where a step was tried.
        steps: predicted within the time.
        share: of a typical scan (2D: slice) that a patch sees.
        weakest: what most likely holds it back, in words.
    """

    config: TrainConfig
    reasons: dict[str, str]
    summary: tuple[str, ...]
    memory_bytes: float
    steps: int
    share: float
    weakest: str


def make_plan(
    cohort: Cohort,
    looks: CohortLooks,
    machine: Machine,
    *,
    card: str,
    preset: str = "fast",
    dims: Literal[2, 3] | None = None,
) -> Plan:
    """Choose every setting.

    Args:
        cohort: whose labels, channels and modality count.
        looks: what its train rows look like.
        machine: time and memory to spend.
        card: the cohort's card, as the config should name it.
        preset: a name from ``PRESETS``.
        dims: 2 or 3; where not given, 2 for scans of a few thick slices.

    Raises:
        BadConfig: no such preset, or a budget that buys nothing.
        BadCohort: no label occurs in any scan.
    """
    if preset not in PRESETS:
        raise BadConfig("no such preset", found=repr(preset), expected=", ".join(PRESETS))
    typical = looks.typical_ml()
    if not typical:
        raise BadCohort("no label occurs in any train row: nothing to learn", path=cohort.path)
    frame = typical_frame(looks)
    looks = looks.turned(frame)
    choices = Choices()
    choices.choose("cohort", card)
    patch, levels, batch = _geometry(choices, cohort, looks, machine, PRESETS[preset], dims)
    _network(choices, levels, PRESETS[preset])
    if frame is not None:
        choices.choose("prepare.frame", [list(row) for row in frame], _WHY_FRAME)
    choose_intensities(choices, cohort, looks)
    voxels = batch * math.prod(patch)
    steps = machine.steps(cost_of(cohort, levels) * voxels)
    choose_augmentation(choices, cohort, looks, machine, steps)
    choose_loss(choices, len(typical), steps)
    choose_schedule(choices, looks, machine, batch, steps, len(typical))
    choices.keep("infer", "overlap", "windows of the patch's size, each voxel seen by several")
    choices.choose("infer.skip_below", *empty_below(cohort, looks))
    choices.choose("infer.zeros", *zeros(cohort, looks))
    memory = memory_of(cohort, looks, machine, PRESETS[preset], levels).bytes_of(voxels)
    spacing = choices.values["prepare"]["spacing_mm"]
    whole = [mm or float(np.median(looks.spacings_mm[:, n])) for n, mm in enumerate(spacing)]
    shape = median_shape(looks, whole)
    share = math.prod(min(1.0, n / of) for n, of in zip(patch, shape, strict=False))
    config = validate(TrainConfig, choices.values)
    return Plan(
        config=config,
        reasons=choices.reasons,
        summary=(
            *summary_lines(cohort, looks, typical, machine),
            f"Preset {preset}: {PRESETS[preset].about}.",
        ),
        memory_bytes=memory,
        steps=steps,
        share=share,
        weakest=weakest_point(looks, config, share, steps),
    )


def _geometry(
    choices: Choices,
    cohort: Cohort,
    looks: CohortLooks,
    machine: Machine,
    preset: Preset,
    dims: Literal[2, 3] | None,
) -> tuple[tuple[int, ...], Levels, int]:
    """Dimensions, spacing, patch and batch, which depend on each other."""
    axes = _dimensions(choices, looks, dims)
    least = preset.batch if len(axes) == 3 else 2
    spacing, _ = median_spacing(looks, finer=False)
    shape = [min(64, n) for n in median_shape(looks, spacing)]
    _, rough = fit_patch([shape[a] for a in axes], [spacing[a] for a in axes], math.inf, preset)
    memory, cost = memory_of(cohort, looks, machine, preset, rough), cost_of(cohort, rough)
    most = memory.voxels_in(machine.memory_bytes) / least
    spacing, why_spacing = affordable_spacing(
        looks, axes, most, lambda steps: voxels_in_time(machine, cost, steps) / least
    )
    whole = median_shape(looks, spacing)
    here, near = [whole[a] for a in axes], [spacing[a] for a in axes]
    labels = len(looks.typical_ml())
    voxels = voxels_a_step(machine, cost, memory, least * math.prod(here), labels)
    patch, levels = affordable_patch(cohort, looks, machine, preset, (here, near), voxels / least)
    memory = memory_of(cohort, looks, machine, preset, levels)
    fitting = min(voxels, memory.voxels_in(machine.memory_bytes))
    if machine.kind == "cuda":
        patch = filled_up(patch, levels.divisor, here, near, fitting / least)
    choices.choose("patch", list(patch), why_patch(patch, here, levels))
    if len(axes) == 2:
        why_spacing += "; across the slices each scan keeps its own"
    choices.choose(
        "prepare.spacing_mm",
        [mm if a in axes else None for a, mm in enumerate(spacing)],
        f"in plane, in plane, through plane: {why_spacing}",
    )
    if len(axes) == 2:
        return patch, levels, slices_a_step(fitting, patch)
    cost = cost_of(cohort, levels)
    return patch, levels, patches_a_step(machine, levels, cost, memory, patch, preset.batch)


def _dimensions(choices: Choices, looks: CohortLooks, dims: Literal[2, 3] | None) -> list[int]:
    """Choose 2D or 3D; the working axes that a patch extends along."""
    shape = median_shape(looks, median_spacing(looks)[0])
    chosen = dims or (2 if shape[THROUGH_PLANE] < 8 else 3)
    choices.choose("dims", chosen, _why_dims(chosen, shape))
    if chosen == 2:
        choices.choose(
            "slice_axis", THROUGH_PLANE, "2 is through plane, found for each scan by itself"
        )
    return [axis for axis in range(3) if chosen == 3 or axis != THROUGH_PLANE]


def _why_dims(dims: int, shape: tuple[int, int, int]) -> str:
    size = "×".join(str(n) for n in shape)
    if dims == 3:
        return f"a typical scan has {size} voxels: structures go on from slice to slice"
    return f"slice by slice: a typical scan has {size} voxels"


def _network(choices: Choices, levels: Levels, preset: Preset) -> None:
    if not preset.fitted:
        choices.choose("network.name", preset.network, "its own five stages, whatever the patch")
        choices.choose("network.options", {})
        return
    choices.choose("network.name", preset.network)
    choices.choose(
        "network.options.features",
        list(levels.features),
        f"{len(levels.features)} levels: the patch is halved until 4 to 7 voxels are left",
    )
    plain = all(set(kernel) == {3} for kernel in levels.kernels)
    if plain and all(set(stride) == {2} for stride in levels.strides):
        return
    choices.choose(
        "network.options.kernels",
        [list(kernel) for kernel in levels.kernels],
        "a number an axis, 1 where voxels are still at least twice as long",
    )
    choices.choose(
        "network.options.strides",
        [list(stride) for stride in levels.strides],
        "coarse axes are halved only once the others have become as coarse",
    )
