"""Turn what a cohort looks like into a config: every setting chosen for the budget."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medseg.config import THROUGH_PLANE, AugmentConfig, TrainConfig, validate
from medseg.errors import BadConfig
from medseg.manifests import Cohort
from medseg.planning import choices as rules
from medseg.planning.affordable import (
    are_too_few,
    enough_steps,
    filled_up,
    patches_a_step,
    slices_a_step,
    voxels_a_step,
    voxels_in_time,
)
from medseg.planning.choices import Choices
from medseg.planning.cost import GOOD_STEPS, LEAST_STEPS, Levels, Machine
from medseg.planning.fingerprint import CohortLooks, median_shape
from medseg.planning.frames import typical_frame
from medseg.planning.memory import StepMemory, step_memory
from medseg.planning.presets import PRESETS, Preset
from medseg.planning.summary import summary_lines

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
        BadCohort: nothing to learn.
    """
    if preset not in PRESETS:
        raise BadConfig("no such preset", found=repr(preset), expected=", ".join(PRESETS))
    typical = rules.check_cohort_fits(cohort, looks)
    frame = typical_frame(looks)
    looks = looks.turned(frame)
    made = Choices()
    made.choose("cohort", card)
    patch, levels, batch = _geometry(made, cohort, looks, machine, PRESETS[preset], dims)
    _network(made, levels, PRESETS[preset])
    if frame is not None:
        made.choose("prepare.frame", [list(row) for row in frame], _WHY_FRAME)
    _intensities(made, cohort, looks)
    _augmentation(made, cohort, looks, machine)
    voxels = batch * math.prod(patch)
    steps = machine.steps(_cost(cohort, levels) * voxels)
    _schedule(made, looks, machine, batch, steps)
    made.choose("infer.overlap", 0.5, "windows of the patch's size, each voxel seen by several")
    made.choose("infer.skip_below", *rules.empty_below(cohort, looks))
    memory = memory_of(cohort, looks, machine, PRESETS[preset], levels).bytes_of(voxels)
    spacing = made.values["prepare"]["spacing_mm"]
    whole = [mm or float(np.median(looks.spacings_mm[:, n])) for n, mm in enumerate(spacing)]
    shape = median_shape(looks, whole)
    share = math.prod(min(1.0, n / of) for n, of in zip(patch, shape, strict=False))
    return Plan(
        config=validate(TrainConfig, made.values),
        reasons=made.reasons,
        summary=(
            *summary_lines(cohort, looks, typical, machine),
            f"Preset {preset}: {PRESETS[preset].about}.",
        ),
        memory_bytes=memory,
        steps=steps,
        share=share,
        weakest=rules.weakest_point(looks, whole, share, steps, batch),
    )


def _geometry(
    made: Choices,
    cohort: Cohort,
    looks: CohortLooks,
    machine: Machine,
    preset: Preset,
    dims: Literal[2, 3] | None,
) -> tuple[tuple[int, ...], Levels, int]:
    """Dimensions, spacing, patch and batch, which depend on each other."""
    axes = _dimensions(made, looks, dims)
    least = preset.batch if len(axes) == 3 else 2
    spacing, why_spacing = rules.working_spacing(looks, finer=False)
    shape = [min(64, n) for n in median_shape(looks, spacing)]
    _, rough = rules.fit_patch(
        [shape[a] for a in axes], [spacing[a] for a in axes], math.inf, preset
    )
    memory, cost = memory_of(cohort, looks, machine, preset, rough), _cost(cohort, rough)
    if len(axes) == 3:
        most = memory.voxels_in(machine.memory_bytes) / least
        spacing, why_spacing = _spacing_within(
            looks, most, lambda steps: voxels_in_time(machine, cost, steps) / least
        )
    whole = median_shape(looks, spacing)
    here, near = [whole[a] for a in axes], [spacing[a] for a in axes]
    voxels = voxels_a_step(machine, cost, memory, least * math.prod(here))
    patch, levels = _patch_within(cohort, looks, machine, preset, (here, near), voxels / least)
    memory = memory_of(cohort, looks, machine, preset, levels)
    fitting = min(voxels, memory.voxels_in(machine.memory_bytes))
    if machine.kind == "cuda":
        patch = filled_up(patch, levels.divisor, here, near, fitting / least)
    made.choose("patch", list(patch), _why_patch(patch, here, levels))
    if len(axes) == 2:
        why_spacing += "; across the slices each scan keeps its own"
    made.choose(
        "prepare.spacing_mm",
        [mm if a in axes else None for a, mm in enumerate(spacing)],
        f"in plane, in plane, through plane: {why_spacing}",
    )
    if len(axes) == 2:
        return patch, levels, slices_a_step(fitting, patch)
    cost = _cost(cohort, levels)
    return patch, levels, patches_a_step(machine, levels, cost, memory, patch, preset.batch)


def _dimensions(made: Choices, looks: CohortLooks, dims: Literal[2, 3] | None) -> list[int]:
    """Choose 2D or 3D; the working axes that a patch extends along."""
    shape = median_shape(looks, rules.working_spacing(looks)[0])
    chosen = dims or (2 if shape[THROUGH_PLANE] < 8 else 3)
    made.choose("dims", chosen, _why_dims(chosen, shape))
    if chosen == 2:
        made.choose(
            "slice_axis", THROUGH_PLANE, "2 is through plane, found for each scan by itself"
        )
    return [axis for axis in range(3) if chosen == 3 or axis != THROUGH_PLANE]


def _patch_within(
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
        patch, levels = rules.fit_patch(shape, spacing_mm, voxels, preset)
        memory = memory_of(cohort, looks, machine, preset, levels)
        size = (preset.batch if len(patch) == 3 else 2) * math.prod(patch)
        fits = machine.kind == "cpu" or memory.bytes_of(size) <= machine.memory_bytes
        steps = machine.steps(_cost(cohort, levels) * size)
        if (fits and not are_too_few(steps)) or max(patch) <= rules.SMALLEST_PATCH:
            return patch, levels
        voxels *= 0.95


def _spacing_within(
    looks: CohortLooks, most: float, in_time: Callable[[int], float]
) -> tuple[tuple[float, float, float], str]:
    """Voxels that the budget affords in 3D: thick slices divided, or all a little coarser.

    Args:
        looks: of the train rows.
        most: voxels of a patch that the memory holds.
        in_time: steps to voxels of a patch.
    """
    spacing, reason = rules.working_spacing(looks)
    good = in_time(GOOD_STEPS)
    if good < math.prod(median_shape(looks, spacing)):
        spacing, reason = rules.working_spacing(looks, finer=False)
    spacing, why = rules.coarsened(spacing, looks, max(1, min(most, in_time(LEAST_STEPS))))
    spacing, why_more = rules.mildly_coarsened(spacing, looks, max(1, good))
    return spacing, "; ".join(filter(None, (why or reason, why_more)))


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


def _cost(cohort: Cohort, levels: Levels) -> float:
    """Multiplications of a forward pass for each voxel of a patch."""
    return levels.macs_a_voxel(len(cohort.channels), cohort.labels.channels)


def _why_dims(dims: int, shape: tuple[int, int, int]) -> str:
    size = "×".join(str(n) for n in shape)
    if dims == 3:
        return f"a typical scan has {size} voxels: structures go on from slice to slice"
    return f"slice by slice: a typical scan has {size} voxels"


def _why_patch(patch: tuple[int, ...], shape: list[int], levels: Levels) -> str:
    size = "×".join(str(n) for n in shape)
    multiple = "×".join(str(n) for n in levels.divisor)
    if all(a >= b for a, b in zip(patch, shape, strict=True)):
        return f"holds a typical scan ({size}) whole, rounded up to multiples of {multiple}"
    share = math.prod(patch) / math.prod(shape)
    return (
        f"what the budget affords: {share:.0%} of a typical scan ({size}), in steps of {multiple}"
    )


def _network(made: Choices, levels: Levels, preset: Preset) -> None:
    if not preset.fitted:
        made.choose("network.name", preset.network, "its own five stages, whatever the patch")
        made.choose("network.options", {})
        return
    made.choose("network.name", preset.network)
    made.choose(
        "network.options.features",
        list(levels.features),
        f"{len(levels.features)} levels: the patch is halved until 4 to 7 voxels are left",
    )
    plain = all(set(kernel) == {3} for kernel in levels.kernels)
    if plain and all(set(stride) == {2} for stride in levels.strides):
        return
    made.choose(
        "network.options.kernels",
        [list(kernel) for kernel in levels.kernels],
        "a number an axis, 1 where voxels are still at least twice as long",
    )
    made.choose(
        "network.options.strides",
        [list(stride) for stride in levels.strides],
        "coarse axes are halved only once the others have become as coarse",
    )


def _intensities(made: Choices, cohort: Cohort, looks: CohortLooks) -> None:
    normalise, why = rules.normalisation(cohort, looks)
    made.choose("prepare.normalise", normalise, why)
    made.choose("prepare.alignment", "cover")
    made.choose("prepare.resampling", "linear")


def _augmentation(made: Choices, cohort: Cohort, looks: CohortLooks, machine: Machine) -> None:
    plain = AugmentConfig().model_dump(mode="json")
    axes, why = rules.mirrors(cohort, looks, machine.minutes)
    for name, value in plain.items():
        made.choose(f"augment.{name}", axes if name == "mirror_axes" else value)
    spacing = [mm for mm in made.values["prepare"]["spacing_mm"] if mm is not None]
    if max(spacing) > rules.ANISOTROPIC * min(spacing):
        made.choose(
            "augment.rotate_degrees",
            8.0,
            "small: a turn out of the plane of thick slices invents what lies between them",
        )
        made.choose("augment.elastic_voxels", 0.5)
    made.choose("augment.mirror_axes", axes, why)
    made.choose("loss.name", "dice_ce", "overlap for small structures, every voxel for the rest")


def _schedule(made: Choices, looks: CohortLooks, machine: Machine, batch: int, steps: int) -> None:
    made.choose("training.minutes", machine.minutes, enough_steps(steps, batch))
    made.choose("training.batch", batch)
    share, why = rules.foreground_share(looks)
    made.choose("training.foreground", share, why)
    made.choose("training.learning_rate", *rules.learning_rate(steps))
    made.choose("training.warmup", int(np.clip(steps // 20, 10, 200)))
    ema = float(f"{np.clip(1 - 3 / max(steps, 1), 0.99, 0.999):.4f}")
    made.choose("training.ema", ema, "weights are averaged over the last steps, and saved so")
    made.choose("training.precision", "auto", "bfloat16 where the processor has it")
    made.choose("training.seed", 0)
    made.choose("training.fold", None, "a number holds that fold out and draws its Dice")
    made.choose("training.rules", "given", "`learn` adds cleaning rules that help held-out scans")
    made.choose("training.on_error", "refuse", "`skip` leaves unreadable cases out")
