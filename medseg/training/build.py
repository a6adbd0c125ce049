"""Builds what a run trains: network, loss and augmentation, in the layout that is quickest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from medseg.config import TrainConfig
from medseg.errors import BadOutput
from medseg.losses import SegmentationLoss, build_loss
from medseg.manifests import Cohort
from medseg.training.frequencies import begin_at, class_shares
from medseg.training.layout import LAYOUTS, Layout, memory_format, quickest_layout
from medseg.training.module import SegmentationTask
from medseg.training.origin import start_from
from medseg.training.patch_plan import PatchPlan
from medseg.training.precision import dtype_of, tf32
from medseg.training.run import DAMAGED, Run, read_facts
from medseg.training.setup import Setup, augment_of


def build_task(setup: Setup) -> SegmentationTask:
    """The task of a run, weights from the seed or from another model."""
    network = setup.network()
    layout = run_layout(setup, network)
    task = task_of_parts(setup.config, setup.cohort, setup.plan, network, layout)
    _expect_classes(setup, task)
    start_from(network, setup.run)
    return task


def _expect_classes(setup: Setup, task: SegmentationTask) -> None:
    """Tell a balanced loss, and a network with heads to say it by, how frequent the classes are."""
    loss = task.loss
    if isinstance(loss, SegmentationLoss) and loss.balance:
        facts = [case.facts for case in setup.data.train]
        loss.expect(class_shares(facts, setup.cohort.labels).tolist())
        if loss.offset is not None and not begin_at(task.network, loss.offset):
            loss.offset = None


def task_of_parts(
    config: TrainConfig, cohort: Cohort, plan: PatchPlan, network: nn.Module, layout: Layout
) -> SegmentationTask:
    """Loss and augmentation beside a network, which is laid out in memory as told."""
    network.to(memory_format=memory_format(layout, config.dims))  # type: ignore[call-overload]
    loop = config.training
    loss = build_loss(config.loss, cohort.labels)
    augment = augment_of(config, cohort, plan)
    task = SegmentationTask(network, loss, augment, loop, loop.steps)
    task.layout = layout
    return task


def run_layout(setup: Setup, network: nn.Module) -> Layout:
    """What the config names; for ``auto`` what the run had before, or the quicker one.

    A second trial may find the other one quicker, and a resumed run would then add in another
    order than it did. Processes that train together must agree, and what is compiled is laid out
    by the compiler: both are channels-last, as is everything on a CPU.
    """
    run, loop = setup.run, setup.config.training
    if loop.layout != "auto":
        return loop.layout
    layout_before = _kept_layout(run)
    if layout_before is not None:
        return layout_before
    if run.device.type != "cuda" or run.world.size > 1 or loop.compile:
        return "channels_last"
    shape = (loop.batch, len(setup.cohort.channels), *setup.plan.patch)
    with tf32(allowed=loop.precision == "tf32"), _chosen_kernels():
        return quickest_layout(network, shape, run.device, dtype_of(loop.precision, run.device))


def _kept_layout(run: Run) -> Layout | None:
    """The layout in ``schedule.json``, if the run was begun before."""
    kept = read_facts(run.schedule).get("layout")
    if kept is not None and kept not in LAYOUTS:
        raise BadOutput(
            "the layout of the run cannot be read",
            path=run.schedule,
            found=repr(kept),
            expected=" or ".join(LAYOUTS),
            remedy=DAMAGED,
        )
    return kept


@contextmanager
def _chosen_kernels() -> Iterator[None]:
    """Let cuDNN choose its kernels by trying them, as a run does."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
