"""Which patches will training draw first?  The very ones, without training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from medseg.config import TrainConfig
from medseg.manifests import Cohort
from medseg.training.checks import check_config
from medseg.training.data import PatchData, prepare_cohort
from medseg.training.patches import PatchStream
from medseg.transforms.augment import Augment, Patches

#: A preview needs few scans; preparing a whole cohort would take long.
_MOST_CASES = 12


def drawn_patches(
    config: TrainConfig,
    cohort: Cohort,
    folder: Path,
    count: int,
    progress: Callable[[int, int], None],
) -> Patches:
    """The first patches of a run over the first train rows, augmented.

    Args:
        config: of the run.
        cohort: at most a dozen of its train rows are prepared.
        folder: where prepared cases are kept.
        count: number of patches.
        progress: called as cases are prepared.
    """
    check_config(config, cohort)
    rows = cohort.select(split="train").labelled().cases
    loop = config.training.model_copy(update={"fold": None})
    few = config.model_copy(update={"training": loop})
    data = prepare_cohort(few, cohort.with_cases(rows[:_MOST_CASES]), folder, progress)
    patch_data = PatchData(few, data.train)
    plan = replace(patch_data.plan, batch=count)
    augment = Augment(few.augment, plan.patch, plan.axes, cohort.labels, plan.seed)
    with torch.no_grad():
        return augment(PatchStream(data.train, plan).batch_of(0))
