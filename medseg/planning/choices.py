"""Rules that choose a setting from a cohort and a budget, each with its reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medseg.errors import BadCohort
from medseg.manifests import Cohort
from medseg.planning.affordable import ENOUGH_CONTEXT, ENOUGH_VOXELS, are_too_few
from medseg.planning.cost import Levels, levels_for
from medseg.planning.fingerprint import CohortLooks, median_shape
from medseg.planning.presets import Preset

#: What the working axes are to a scan.
ROLES = ("in plane", "in plane", "through plane")

#: Spacing along one axis this many times the others' makes a scan anisotropic.
ANISOTROPIC = 3.0

#: A patch should hold at least this share of a typical scan, else spacing gives way.
LEAST_CONTEXT = 1 / 30

#: For a patch to show enough, spacing gives way so far, while structures stay so many voxels wide.
MILDLY_COARSER, WIDE_VOXELS = 1.35, 8.0

#: So small a share of many labels may become narrower than that.
FEW_LABELS = 0.1

#: A structure should be so many voxels wide, else spacing does not give way.
SMALLEST_VOXELS = 2.5

#: Patches do not get smaller than this along every axis.
SMALLEST_PATCH = 16

#: A patch that sees less of a scan than this is a plan's weak point.
LITTLE_CONTEXT = 0.1

#: Fewer scans than this are a plan's weak point.
FEW_CASES = 10

#: Below this a CT shows air, and no structure may come near it where windows of air are left out.
AIR_HU, DARKEST_TISSUE_HU = -900.0, -800.0

#: Shorter trainings have no time to learn what mirrored anatomy looks like.
MIRROR_MINUTES = 60.0


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


def working_spacing(
    looks: CohortLooks, *, finer: bool = True
) -> tuple[tuple[float, float, float], str]:
    """The median spacing, finer along the slices where these are far apart and time allows.

    Args:
        looks: of the train rows.
        finer: whether thick slices may be divided.
    """
    median = np.median(looks.spacings_mm, axis=0)
    spacing = [_neat(mm) for mm in median]
    why = f"the median of {len(looks.cases)} scans"
    if median.max() > ANISOTROPIC * np.median(median):
        axis = int(median.argmax())
        thin = float(np.percentile(looks.spacings_mm[:, axis], 10))
        divided = _neat(max(thin, float(np.median(median))))
        if finer:
            spacing[axis] = divided
            why += (
                f"; {ROLES[axis]}, where slices lie {median[axis]:.3g} mm apart, the 10th"
                " percentile, so that thinner ones are not thrown away"
            )
        elif divided < spacing[axis]:
            why += f"; more minutes or a GPU allow {divided:g} mm {ROLES[axis]}"
    return (spacing[0], spacing[1], spacing[2]), why


def coarsened(
    spacing_mm: Sequence[float], looks: CohortLooks, voxels: float
) -> tuple[tuple[float, float, float], str]:
    """A spacing at which so many voxels show enough of a typical scan."""
    shape = median_shape(looks, spacing_mm)
    share = voxels / math.prod(shape)
    if share >= LEAST_CONTEXT or voxels >= ENOUGH_VOXELS:
        return (spacing_mm[0], spacing_mm[1], spacing_mm[2]), ""
    floor = _floor(spacing_mm, LEAST_CONTEXT / share)
    name, size_mm = small_structure(looks)
    needed = max(min(spacing_mm), size_mm / SMALLEST_VOXELS)
    if floor > needed:
        x, y, z = (_neat(max(mm, needed)) for mm in spacing_mm)
        return (x, y, z), (
            f"no coarser, though a patch shows little of a scan: {name} measures about"
            f" {size_mm:.2g} mm"
        )
    x, y, z = (_neat(max(mm, floor)) for mm in spacing_mm)
    return (x, y, z), (
        f"coarser than the scans' {_times(spacing_mm)} mm: within the budget a patch would show"
        f" {share:.1%} of a typical scan only. More minutes or a GPU allow finer voxels"
    )


def mildly_coarsened(
    spacing_mm: Sequence[float], looks: CohortLooks, voxels: float
) -> tuple[tuple[float, float, float], str]:
    """A spacing up to a third coarser, at which so many voxels show half of a typical scan.

    On 102 heart scans of 1.5 mm, about ten minutes on two cores, 1.9 mm gave a Dice of 0.80 on
    eight held-out scans, and 1.5 mm with the steps that are left then 0.65.
    """
    share = voxels / math.prod(median_shape(looks, spacing_mm))
    _, size_mm = small_structure(looks, FEW_LABELS)
    most = min(MILDLY_COARSER * min(spacing_mm), size_mm / WIDE_VOXELS)
    if share >= ENOUGH_CONTEXT or voxels >= ENOUGH_VOXELS or most <= 1.05 * min(spacing_mm):
        return (spacing_mm[0], spacing_mm[1], spacing_mm[2]), ""
    floor = min(most, _floor(spacing_mm, ENOUGH_CONTEXT / share))
    x, y, z = (_neat(max(mm, floor)) for mm in spacing_mm)
    return (x, y, z), (
        f"a little coarser than the scans' {_times(spacing_mm)} mm: more of a scan in a patch and"
        " more steps are worth more while time is short"
    )


def _floor(spacing_mm: Sequence[float], times: float) -> float:
    """The least spacing that makes voxels so many times larger; the finest axes give way first."""
    wanted = math.prod(spacing_mm) * times
    floor: float = wanted ** (1 / 3)
    for _ in range(20):
        kept = [mm for mm in spacing_mm if mm > floor]
        floor = float((wanted / math.prod(kept)) ** (1 / max(1, 3 - len(kept))))
    return floor


def small_structure(looks: CohortLooks, share: float = 0.0) -> tuple[str, float]:
    """A label that only so large a share of the others undercuts, and its size in mm.

    Labels too small for the scans' own voxels do not count, unless all are: no spacing of a plan
    can help them.

    Args:
        looks: of the train rows.
        share: 0 is the smallest label.

    Returns:
        Its name, and the diameter of a ball of its typical volume.
    """
    sizes = {name: (6000 * ml / math.pi) ** (1 / 3) for name, ml in looks.typical_ml().items()}
    least = SMALLEST_VOXELS * float(np.median(looks.spacings_mm, axis=0).min())
    resolved = {name: mm for name, mm in sizes.items() if mm >= least} or sizes
    name = sorted(resolved, key=lambda label: resolved[label])[int(share * len(resolved))]
    return name, resolved[name]


def weakest_point(
    looks: CohortLooks, spacing_mm: Sequence[float], share: float, steps: int, batch: int
) -> str:
    """What most likely holds a plan back, in words."""
    name, size_mm = small_structure(looks)
    across = size_mm / max(spacing_mm)
    if are_too_few(steps, batch):
        return f"{steps} steps are too few to learn much: give more --minutes or a GPU"
    if across < SMALLEST_VOXELS:
        return (
            f"{name}, a ball of {size_mm:.2g} mm, is {across:.1f} voxels wide at most: more minutes"
            " or memory allow finer ones"
        )
    if share < LITTLE_CONTEXT:
        return (
            f"a patch sees {share:.1%} of a scan: what looks alike far apart will be mixed up."
            " Train a coarse model first and name it under infer.locate"
        )
    if len(looks.cases) < FEW_CASES:
        return f"{len(looks.cases)} scans show little of how people differ: label more"
    return "nothing stands out; the labels themselves are the limit"


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


def normalisation(cohort: Cohort, looks: CohortLooks) -> tuple[list[dict[str, Any]], str]:
    """A window from the labelled voxels for CT; each scan's own mean and spread for the rest."""
    rules: list[dict[str, Any]] = []
    whys = []
    for index, channel in enumerate(cohort.channels):
        values = looks.foreground(index)
        if cohort.modality_of(channel) == "CT" and values.size:
            low, high = np.percentile(values, [0.5, 99.5])
            rules.append(
                {
                    "kind": "window",
                    "low": _neat(low),
                    "high": _neat(max(high, low + 1)),
                    "mean": _neat(values.mean()),
                    "sd": _neat(max(values.std(), 1e-3)),
                }
            )
            whys.append(
                f"{channel}: HU mean the same in every scan, so one window for all: the 0.5 and"
                " 99.5 percentile inside the labels, then their mean and spread"
            )
        else:
            empty = float(np.median([case.zero_share for case in looks.cases])) > 0.25
            rules.append({"kind": "zscore", "nonzero": empty})
            whys.append(
                f"{channel}: values have no unit, so each scan's own mean and spread"
                + (", zeros around the body left out" if empty else "")
            )
    if len(rules) > 1 and all(rule == rules[0] for rule in rules):
        rules, whys = rules[:1], whys[:1]
    return rules, "; ".join(whys)


def empty_below(cohort: Cohort, looks: CohortLooks) -> tuple[float | None, str]:
    """The HU below which a window shows nothing but air, where no structure is as dark."""
    if any(cohort.modality_of(channel) != "CT" for channel in cohort.channels):
        return None, "windows are asked about whatever they show: values have no unit"
    values = np.concatenate([looks.foreground(n) for n in range(len(cohort.channels))])
    if values.size and np.percentile(values, 0.5) < DARKEST_TISSUE_HU:
        return None, "windows are asked about whatever they show: a structure is as dark as air"
    return AIR_HU, f"windows of nothing but air, all below {AIR_HU:g} HU, are background"


def mirrors(cohort: Cohort, looks: CohortLooks, minutes: float) -> tuple[list[int | str], str]:
    """Left-right mirrors where that is safe and there is time for them.

    The axis is named by its number where left to right is the same axis of every scan, else by
    ``left-right``.
    """
    pairing = cohort.labels.mirror_pairing()
    if pairing is None:
        return [], f"none: {cohort.labels.mirror_obstacle}; left stays left"
    if minutes < MIRROR_MINUTES:
        return [], "none: a short training has no time to learn mirrored anatomy"
    swapped = "pairs of labels swap sides with it" if pairing else "no label has a side"
    sideways = {int(np.argmax(np.abs(np.array(case.directions)[:, 0]))) for case in looks.cases}
    axes: list[int | str] = ["left-right"] if len(sideways) > 1 else [*sideways]
    return axes, f"left-right alone: {swapped}; bodies lie neither upside down nor on their front"


def learning_rate(steps: int) -> tuple[float, str]:
    """The peak, higher the fewer steps there are.

    On hippocampi 200 steps gave held-out scans a Dice of 0.850 at 0.001 and 0.859 at 0.003.

    >>> [learning_rate(steps)[0] for steps in (200, 1000, 4000, 100_000)]
    [0.003, 0.002, 0.001, 0.001]
    """
    peak = float(np.clip(0.001 * math.sqrt(4000 / max(steps, 1)), 0.001, 0.003))
    why = "peak, higher the fewer steps there are; up over `warmup` steps, down by a cosine"
    return float(f"{peak:.2g}"), why


def foreground_share(looks: CohortLooks) -> tuple[float, str]:
    """How many patches are centred on a structure."""
    share = float(np.median([case.labelled_share for case in looks.cases]))
    if share < 0.01:
        return 0.67, f"only {share:.2%} of the voxels are labelled: two patches in three show them"
    return 0.5, f"{share:.1%} of the voxels are labelled"


def check_cohort_fits(cohort: Cohort, looks: CohortLooks) -> Mapping[str, float]:
    """Typical volumes of the labels.

    Raises:
        BadCohort: no label occurs in any scan.
    """
    typical = looks.typical_ml()
    if not typical:
        raise BadCohort("no label occurs in any train row: nothing to learn", path=cohort.path)
    return typical


def _neat(value: float) -> float:
    """Three significant digits: a person can read it, and no scan is measured better."""
    return float(f"{float(value):.3g}")


def _times(numbers: Sequence[float]) -> str:
    return "×".join(f"{number:.3g}" for number in numbers)
