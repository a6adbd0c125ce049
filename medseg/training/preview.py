"""Patches as a run draws them once they have their full size, without training."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import torch

from medseg.config import TrainConfig
from medseg.manifests import Cohort
from medseg.progress import Progress
from medseg.training.checks import check_config
from medseg.training.data import prepare_cohort
from medseg.training.patches import PatchStream
from medseg.training.run import Run
from medseg.training.setup import resolve
from medseg.transforms.augment import Patches

#: A preview needs few scans; preparing a whole cohort would take long.
_MOST_CASES = 12


def drawn_patches(
    config: TrainConfig,
    cohort: Cohort,
    folder: Path,
    count: int,
    progress: Progress,
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
    run = Run(folder, torch.device("cpu"), time.monotonic())
    setup = resolve(few, cohort, data, run)
    plan = replace(setup.plan, batch=count)
    with torch.no_grad():
        return setup.augment()(PatchStream(data.train, plan).batch_of(0))
