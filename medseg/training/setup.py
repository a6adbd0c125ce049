"""One frozen Setup holds all that a run is, resolved once after its cases are prepared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from medseg.config import InferConfig, TrainConfig
from medseg.manifests import Cohort
from medseg.networks import build_network
from medseg.training.data import TrainingData
from medseg.training.patch_plan import PatchPlan, patches_in_place_of, sizes_up_to
from medseg.training.run import Run
from medseg.transforms.augment import Augment, source_shape


@dataclass(frozen=True, eq=False)
class Setup:
    """What a run trains, on what, where, and what follows from these; made by :func:`resolve`.

    Attributes:
        config: of the run.
        cohort: labels, channels and rows.
        data: the prepared cases.
        run: folder, device and processes.
        slice_axis: working axis that a 2D network slices along; ``None`` in 3D.
        plan: patch shape and axes, and how patches are drawn.
        infer: how to segment; its window is never empty.
    """

    config: TrainConfig
    cohort: Cohort
    data: TrainingData
    run: Run
    slice_axis: int | None
    plan: PatchPlan
    infer: InferConfig

    def network(self) -> nn.Module:
        """A new network with random weights."""
        return network_of(self.config, self.cohort)

    def augment(self) -> Augment:
        """Random changes from source patches to patches."""
        return augment_of(self.config, self.cohort, self.plan)


def resolve(config: TrainConfig, cohort: Cohort, data: TrainingData, run: Run) -> Setup:
    """Decide once what depends on config and prepared cases together."""
    typical = np.median([case.facts.spacing_mm for case in data.train], axis=0)
    plan = patch_plan(config, typical.tolist())
    infer = config.infer.model_copy(update={"window": config.infer.window or plan.patch})
    return Setup(config, cohort, data, run, config.sliced, plan, infer)


def network_of(config: TrainConfig, cohort: Cohort) -> nn.Module:
    """The network that a config names, for the channels and labels of a cohort.

    Raises:
        BadConfig: there is no such network, or an option it does not know.
    """
    return build_network(
        config.network.name,
        dims=config.dims,
        in_channels=len(cohort.channels),
        out_channels=cohort.labels.channels,
        options=config.network.options,
    )


def augment_of(config: TrainConfig, cohort: Cohort, plan: PatchPlan) -> Augment:
    """The random changes that a config names, for the labels of a cohort."""
    smaller = {each.source_shape: each.patch for each in plan.smaller}
    return Augment(config.augment, plan.patch, plan.axes, cohort.labels, plan.seed, smaller)


def patch_plan(config: TrainConfig, spacing_mm: Sequence[float]) -> PatchPlan:
    """Patches along the axes that are not sliced; a 2D config may give three sizes.

    Args:
        config: of the run.
        spacing_mm: of a typical prepared case, in plane, in plane and through plane.
    """
    axes = tuple(axis for axis in range(3) if axis != config.sliced)
    patch = config.patch
    if len(patch) != config.dims:
        patch = tuple(patch[axis] for axis in axes)
    loop, spacing = config.training, [spacing_mm[axis] for axis in axes]
    stages = [
        PatchPlan(
            patch=size,
            source_shape=source_shape(size, config.augment, spacing),
            axes=axes,
            foreground=loop.foreground,
            batch=loop.batch * patches_in_place_of(patch, size),
            seed=loop.seed,
        )
        for size in sizes_up_to(patch, loop.growth)
    ]
    return replace(stages[-1], smaller=tuple(stages[:-1]))
