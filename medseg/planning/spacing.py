"""Choose the working spacing: the scans' median, finer or coarser as the budget allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from medseg.config import THROUGH_PLANE
from medseg.planning.affordable import (
    ENOUGH_CONTEXT,
    ENOUGH_PIXELS,
    ENOUGH_VOXELS,
    MANY_LABELS,
)
from medseg.planning.choices import neat
from medseg.planning.cost import GOOD_STEPS, LEAST_STEPS
from medseg.planning.fingerprint import CohortLooks, median_shape

#: What the working axes are to a scan.
ROLES = ("in plane", "in plane", "through plane")

#: Spacing along one axis this many times the others' makes a scan anisotropic.
ANISOTROPIC = 3.0

#: A patch should hold at least this share of a typical scan, else spacing gives way.
LEAST_CONTEXT = 1 / 30

#: For a patch to show enough, spacing gives way so far, while structures stay so many voxels wide.
MILDLY_COARSER, WIDE_VOXELS = 1.35, 8.0

#: The same for a patch to be as large as a whole scan, where there are many labels.
MUCH_COARSER, NARROW_VOXELS = 2.5, 4.0

#: So small a share of many labels may become narrower than that.
FEW_LABELS = 0.1

#: A structure should be so many voxels wide, else spacing does not give way.
SMALLEST_VOXELS = 2.5


def median_spacing(
    looks: CohortLooks, *, finer: bool = True
) -> tuple[tuple[float, float, float], str]:
    """The median spacing, finer along the slices where these are far apart and time allows.

    Args:
        looks: of the train rows.
        finer: whether thick slices may be divided.
    """
    median = np.median(looks.spacings_mm, axis=0)
    spacing = [neat(mm) for mm in median]
    why = f"the median of {len(looks.cases)} scans"
    if median.max() > ANISOTROPIC * np.median(median):
        axis = int(median.argmax())
        thin = float(np.percentile(looks.spacings_mm[:, axis], 10))
        if finer:
            spacing[axis] = neat(max(thin, float(np.median(median))))
            why += (
                f"; {ROLES[axis]}, where slices lie {median[axis]:.3g} mm apart, the 10th"
                " percentile, so that thinner ones are not thrown away"
            )
    return (spacing[0], spacing[1], spacing[2]), why


def affordable_spacing(
    looks: CohortLooks, axes: Sequence[int], most: float, in_time: Callable[[int], float]
) -> tuple[tuple[float, float, float], str]:
    """Voxels that the budget affords: in 3D thick slices divided, or all a little coarser.

    Args:
        looks: of the train rows.
        axes: that a patch extends along; the others keep their spacing.
        most: voxels of a patch that the memory holds.
        in_time: steps to voxels of a patch.
    """
    spacing, reason = median_spacing(looks, finer=len(axes) == 3)
    good = in_time(GOOD_STEPS)
    if len(axes) == 3 and good < math.prod(median_shape(looks, spacing)):
        divided = spacing
        spacing, reason = median_spacing(looks, finer=False)
        for mm, now, role in zip(divided, spacing, ROLES, strict=True):
            if mm < now:
                reason += f"; more minutes or a GPU allow {mm:g} mm {role}"
    afforded = max(1, min(most, in_time(LEAST_STEPS)))
    spacing, why = coarsened(spacing, looks, afforded, axes)
    spacing, why_more = mildly_coarsened(spacing, looks, max(1, min(most, good)), axes)
    return spacing, "; ".join(filter(None, (why or reason, why_more)))


def coarsened(
    spacing_mm: Sequence[float],
    looks: CohortLooks,
    voxels: float,
    axes: Sequence[int] = (0, 1, 2),
) -> tuple[tuple[float, float, float], str]:
    """A spacing at which so many voxels show enough of a typical scan, or slice in 2D.

    Args:
        spacing_mm: in plane, in plane and through plane.
        looks: of the train rows.
        voxels: of a patch.
        axes: that a patch extends along; the others keep their spacing.
    """
    share = voxels / _size(looks, spacing_mm, axes)
    least = as_flat(LEAST_CONTEXT, axes)
    if share >= least or voxels >= _plenty(axes):
        return (spacing_mm[0], spacing_mm[1], spacing_mm[2]), ""
    along, whole = [spacing_mm[axis] for axis in axes], "slice" if len(axes) == 2 else "scan"
    floor = _floor(along, least / share)
    name, size_mm = small_structure(looks)
    needed = max(min(along), size_mm / SMALLEST_VOXELS)
    if floor > needed:
        return _raised(spacing_mm, needed, axes), (
            f"no coarser, though a patch shows little of a {whole}: {name} measures about"
            f" {size_mm:.2g} mm"
        )
    return _raised(spacing_mm, floor, axes), (
        f"coarser than the scans' {times(spacing_mm)} mm: within the budget a patch would show"
        f" {share:.1%} of a typical {whole} only. More minutes or a GPU allow finer voxels"
    )


def mildly_coarsened(
    spacing_mm: Sequence[float],
    looks: CohortLooks,
    voxels: float,
    axes: Sequence[int] = (0, 1, 2),
) -> tuple[tuple[float, float, float], str]:
    """A spacing up to a third coarser, at which so many voxels show half of a typical scan.

    Arguments as in :func:`coarsened`.

    With many labels it is coarser yet: an hour of brains with 144 labels at 1.35 mm came to a Dice
    of 0.18 on three test scans.

    On 102 heart scans of 1.5 mm, about ten minutes on two cores, 1.9 mm gave a Dice of 0.80 on
    eight held-out scans, and 1.5 mm with the steps that are left then 0.65.
    """
    share, along = voxels / _size(looks, spacing_mm, axes), [spacing_mm[axis] for axis in axes]
    _, size_mm = small_structure(looks, FEW_LABELS)
    has_many = len(looks.typical_ml()) >= MANY_LABELS
    coarser, wide = (MUCH_COARSER, NARROW_VOXELS) if has_many else (MILDLY_COARSER, WIDE_VOXELS)
    most = min(coarser * min(along), size_mm / wide)
    context = 1.0 if has_many else as_flat(ENOUGH_CONTEXT, axes)
    if share >= context or voxels >= _plenty(axes) or most <= 1.05 * min(along):
        return (spacing_mm[0], spacing_mm[1], spacing_mm[2]), ""
    floor = min(most, _floor(along, context / share))
    return _raised(spacing_mm, floor, axes), (
        f"{'' if has_many else 'a little '}coarser than the scans' {times(spacing_mm)} mm: more of"
        " a scan in a patch and more steps are worth more while time is short"
    )


def small_structure(looks: CohortLooks, share: float = 0.0) -> tuple[str, float]:
    """A label that only so large a share of the others undercuts, and its size in mm.

    Labels too small for the scans' own voxels do not count, unless all are: no spacing of a plan
    can help them.

    Args:
        looks: of the train rows.
        share: 0 is the smallest label.

    Returns:
        Its name, and the diameter of a ball of its typical volume; of a disc as thick as the
        scans, where these are too thin for that ball.
    """
    thick_mm = float(np.median(looks.extents_mm[:, THROUGH_PLANE]))
    sizes = {name: _diameter_mm(ml, thick_mm) for name, ml in looks.typical_ml().items()}
    least = SMALLEST_VOXELS * float(np.median(looks.spacings_mm, axis=0).min())
    resolved = {name: mm for name, mm in sizes.items() if mm >= least} or sizes
    name = sorted(resolved, key=lambda label: resolved[label])[int(share * len(resolved))]
    return name, resolved[name]


def as_flat(share: float, axes: Sequence[int]) -> float:
    """A share of a cube; in 2D that of a square as long and wide.

    >>> as_flat(1 / 8, (0, 1, 2)), as_flat(1 / 8, (0, 1))
    (0.125, 0.25)
    """
    return float(share ** (len(axes) / 3))


def _plenty(axes: Sequence[int]) -> float:
    """Voxels of a patch from which on spacing does not give way."""
    return ENOUGH_VOXELS if len(axes) == 3 else ENOUGH_PIXELS


def _size(looks: CohortLooks, spacing_mm: Sequence[float], axes: Sequence[int]) -> int:
    """Voxels of a typical scan along some axes."""
    shape = median_shape(looks, spacing_mm)
    return math.prod(shape[axis] for axis in axes)


def _raised(
    spacing_mm: Sequence[float], floor: float, axes: Sequence[int]
) -> tuple[float, float, float]:
    """No finer along some axes than so many mm."""
    x, y, z = (neat(max(mm, floor)) if a in axes else mm for a, mm in enumerate(spacing_mm))
    return x, y, z


def _diameter_mm(ml: float, thick_mm: float) -> float:
    """Of a ball of that volume, or of a disc of that thickness where it is wider.

    >>> round(_diameter_mm(4.19, thick_mm=100)), round(_diameter_mm(1.0, thick_mm=1.0))
    (20, 36)
    """
    ball = (6000 * ml / math.pi) ** (1 / 3)
    return float(max(ball, math.sqrt(4000 * ml / (math.pi * thick_mm))))


def _floor(spacing_mm: Sequence[float], larger: float) -> float:
    """The least spacing that makes voxels so many times larger; the finest axes give way first."""
    wanted = math.prod(spacing_mm) * larger
    floor: float = wanted ** (1 / len(spacing_mm))
    for _ in range(20):
        kept = [mm for mm in spacing_mm if mm > floor]
        floor = float((wanted / math.prod(kept)) ** (1 / max(1, len(spacing_mm) - len(kept))))
    return floor


def times(numbers: Iterable[float]) -> str:
    """Numbers as people write sizes.

    >>> times([0.5, 0.5, 3])
    '0.5×0.5×3'
    """
    return "×".join(f"{number:.3g}" for number in numbers)
