"""What a machine's time and memory buy: voxels a step, patches a batch, steps a run."""

from __future__ import annotations

import math
from collections.abc import Sequence

from medseg.errors import BadConfig
from medseg.planning.cost import GOOD_STEPS, LEAST_STEPS, WHOLE_STEPS, Levels, Machine
from medseg.planning.memory import StepMemory

#: A patch of so many voxels is what the literature's networks see (128³, less a rounding): from
#: there on spacing does not give way for a patch to show more of a scan.
ENOUGH_VOXELS = 0.9 * 128**3

#: The same of a patch of a slice, in 2D (512², less a rounding).
ENOUGH_PIXELS = 0.9 * 512**2

#: A patch that shows this share of a typical scan is large enough while steps are few.
ENOUGH_CONTEXT = 1 / 2

#: From so many labels on many steps are worth more than large patches. In ten minutes of one core
#: brains with 144 labels at 2.75 mm came to a Dice of 0.32 on three held-out scans by 800 steps
#: with patches of a sixth of a scan, to 0.29 by 401 with a third; at 2.5 mm, by 154 steps with
#: whole scans and half as much time again, to 0.22.
MANY_LABELS = 16

#: What a patch then shows of a scan, at the least, for these steps to be many.
CONTEXT_OF_MANY = 1 / 6

#: Where the preset's patches leave fewer steps than this on a CPU, a step takes one patch: the
#: same patches in 400 steps of one gave held-out hippocampi a Dice of 0.863, in 200 of two 0.850.
#: On hearts such a plan, of finer voxels too, found no more than one of two patches a step.
MANY_STEPS = 2000

#: Up to so many values (channels times the first two axes) of a single patch torch convolves on a
#: CPU by a slower way than it takes for two; a patch of 40×56×40 then takes as long as two of them.
SLOW_VALUES = 20_480

#: From so many steps on a training is long: scans vary more, many labels are balanced by half, and
#: a GPU takes more patches a step than the preset says while so many are left.
PLENTY_STEPS = 4000

#: Patches a step on a GPU where whole scans are small.
MOST_PATCHES = 8


def voxels_a_step(
    machine: Machine,
    cost: float,
    memory: StepMemory,
    whole: float,
    labels: int = 1,
) -> float:
    """Voxels a step that leave time for a good number of steps, and fit the memory.

    Args:
        machine: to train on.
        cost: multiplications a voxel.
        memory: of a step.
        whole: voxels of a step that shows typical scans whole.
        labels: few are learnt in fewer steps, down to the least number that learns anything, for
            half of a scan in a patch.

    Raises:
        BadConfig: the memory does not hold the smallest patch.
    """
    in_all = machine.steps(1.0) / cost
    good, context, whole_steps = GOOD_STEPS, ENOUGH_CONTEXT, WHOLE_STEPS
    if labels >= MANY_LABELS:
        good, context, whole_steps = MANY_STEPS, CONTEXT_OF_MANY, MANY_STEPS
    if in_all / whole >= whole_steps:
        in_time = max(in_all / good, whole)
    else:
        in_time = min(max(in_all / good, context * whole), in_all / LEAST_STEPS)
    voxels = min(in_time, memory.voxels_in(machine.memory_bytes))
    if voxels < 16**2:
        raise BadConfig(
            "the memory does not hold a training",
            found=f"{machine.memory_bytes / 1e9:.1f} GB",
            expected=f"{memory.bytes_of(32**3) / 1e9:.1f} GB or more",
        )
    return voxels


def voxels_in_time(machine: Machine, cost: float, steps: int) -> float:
    """Voxels a step, of so many multiplications each, at which the time buys so many steps."""
    return machine.steps(1.0) / cost / steps


def patches_a_step(
    machine: Machine,
    levels: Levels,
    cost: float,
    memory: StepMemory,
    patch: Sequence[int],
    least: int,
) -> int:
    """The preset's number in 3D; on a CPU one while steps are few, on a GPU more while they fit.

    Args:
        machine: to train on.
        levels: of the network.
        cost: multiplications a voxel.
        memory: of a step.
        patch: voxels along each axis.
        least: the preset's.
    """
    size = math.prod(patch)
    if machine.kind == "cpu":
        has_many = machine.steps(cost * size * least) >= MANY_STEPS
        return 1 if not has_many and _are_quick_alone(patch, levels) else least
    in_time = machine.steps(cost * size) // PLENTY_STEPS
    fitting = int(memory.voxels_in(machine.memory_bytes) // size)
    return max(least, min(in_time, fitting, MOST_PATCHES))


def _are_quick_alone(patch: Sequence[int], levels: Levels) -> bool:
    """Whether a single patch takes about half as long as two, at the levels that cost most.

    >>> from medseg.planning.cost import levels_for
    >>> [
    ...     _are_quick_alone(patch, levels_for(patch, (1, 1, 1), 16, 128, 5))
    ...     for patch in ((40, 56, 40), (80, 80, 96))
    ... ]
    [False, True]
    """
    shape = [float(n) for n in patch]
    for width, stride in zip(
        levels.features[:3], [(1,) * len(patch), *levels.strides], strict=False
    ):
        shape = [n / s for n, s in zip(shape, stride, strict=True)]
        if width * math.prod(shape[:2]) <= SLOW_VALUES:
            return False
    return True


def filled_up(
    patch: Sequence[int],
    divisor: Sequence[int],
    shape: Sequence[int],
    spacing_mm: Sequence[float],
    voxels: float,
) -> tuple[int, ...]:
    """A patch made larger by single steps of its network while it stays within so many voxels.

    >>> filled_up((128, 128, 96), (32, 32, 32), (200, 200, 200), (1.0, 1.0, 1.0), 128**3)
    (128, 128, 128)

    Args:
        patch: voxels along each axis.
        divisor: what they are multiples of.
        shape: of a typical scan, beyond which no axis grows.
        spacing_mm: the shortest axis in mm grows first.
        voxels: at most.
    """
    size = list(patch)
    while True:
        wanted = [
            (size[axis] * spacing_mm[axis], axis)
            for axis in range(len(size))
            if size[axis] < shape[axis]
            and math.prod(size) // size[axis] * (size[axis] + divisor[axis]) <= voxels
        ]
        if not wanted:
            return tuple(size)
        axis = min(wanted)[1]
        size[axis] += divisor[axis]


def slices_a_step(voxels: float, patch: Sequence[int]) -> int:
    """In 2D as many as the voxels allow."""
    return int(min(32, max(2, voxels // math.prod(patch))))


def are_too_few(steps: int, batch: int = 2) -> bool:
    """Whether a run learns little; patches are rounded up, which costs a few steps.

    >>> are_too_few(340), are_too_few(200), are_too_few(400, batch=1)
    (False, True, True)

    Args:
        steps: of the run.
        batch: patches a step; one counts as half a step.
    """
    return steps * min(batch, 2) / 2 < 0.9 * LEAST_STEPS


def enough_steps(steps: int, batch: int) -> str:
    """A word on the length of a run."""
    if are_too_few(steps, batch):
        return f"about {steps} steps: too few to learn much; give more --minutes"
    return f"about {steps} steps; the run times its own first ones and then fixes their number"
