"""Says in words what most likely holds a plan back."""

from __future__ import annotations

import numpy as np

from medseg.config import TrainConfig
from medseg.planning.affordable import are_too_few
from medseg.planning.fingerprint import CohortLooks
from medseg.planning.spacing import SMALLEST_VOXELS, as_flat, small_structure, times

#: A patch that sees less of a scan than this is a plan's weak point.
LITTLE_CONTEXT = 0.1

#: Up to this many times the scans' own spacing is no coarser: digits are rounded.
SAME_MM = 1.05

#: Fewer scans than this are a plan's weak point.
FEW_CASES = 10


def weakest_point(looks: CohortLooks, config: TrainConfig, share: float, steps: int) -> str:
    """What most likely holds a plan back, in words.

    Args:
        looks: of the train rows.
        config: the plan.
        share: of a typical scan, or slice in 2D, that a patch sees.
        steps: predicted.
    """
    name, size_mm = small_structure(looks)
    own_mm = np.median(looks.spacings_mm, axis=0)
    coarse_mm = [
        mm
        for mm, own in zip(config.prepare.spacing_mm, own_mm, strict=True)
        if mm is not None and mm > SAME_MM * own
    ]
    if are_too_few(steps, config.training.batch):
        return f"{steps} steps are too few to learn much: give more --minutes or a GPU"
    if coarse_mm and size_mm < SMALLEST_VOXELS * max(coarse_mm):
        return (
            f"{name}, about {size_mm:.2g} mm wide, is {size_mm / max(coarse_mm):.1f} voxels wide:"
            " more minutes or memory allow finer ones"
        )
    if share < as_flat(LITTLE_CONTEXT, config.patch):
        whole = "slice" if config.dims == 2 else "scan"
        return (
            f"a patch sees {share:.1%} of a {whole}: what looks alike far apart will be mixed up."
            " Train a coarse model first and name it under infer.locate"
        )
    if len(looks.cases) < FEW_CASES:
        return f"{len(looks.cases)} scans show little of how people differ: label more"
    if size_mm < SMALLEST_VOXELS * own_mm.max():
        return (
            f"{name}, about {size_mm:.2g} mm wide, is narrow in the scans themselves, whose voxels"
            f" measure {times(own_mm)} mm"
        )
    return "nothing stands out; the labels themselves are the limit"
