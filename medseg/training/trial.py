"""One real step of a plan on a GPU, without a scan: how much memory it takes indeed."""

from __future__ import annotations

import gc
from dataclasses import replace

import torch

from medseg.config import TrainConfig
from medseg.manifests import Cohort
from medseg.memory import is_out_of_memory
from medseg.planning.cost import Machine
from medseg.planning.memory import GPU_CONTEXT_BYTES, GPU_SLACK
from medseg.training.build import task_of_parts
from medseg.training.optimiser import build_optimizer
from medseg.training.patch_plan import PatchPlan
from medseg.training.precision import dtype_of, tf32
from medseg.training.setup import network_of, patch_plan
from medseg.transforms.augment import Patches

#: The first step claims what the second counts on: moments of the optimiser, workspaces.
_STEPS = 2


def memory_of_a_step(config: TrainConfig, cohort: Cohort, device: torch.device) -> float:
    """Peak bytes of the card for a step of noise, or infinity where it runs out.

    Network, layout, precision, augmentation, loss, gradients, optimiser and average are a run's.

    Args:
        config: of the plan.
        cohort: its channels and labels count, and whether truths were drawn for some labels alone.
        device: a GPU.
    """
    torch.cuda.reset_peak_memory_stats(device)
    try:
        take_steps(config, cohort, device)
        return GPU_CONTEXT_BYTES + GPU_SLACK * torch.cuda.max_memory_allocated(device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return float("inf")
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def corrected(machine: Machine, foretold: float, measured: float) -> Machine:
    """A machine with as much less memory as a step takes more than foretold.

    >>> machine = Machine(60, 8e9, 5e12, "a GPU", "cuda")
    >>> corrected(machine, 4e9, 5e9).memory_bytes / 1e9
    6.4
    """
    share = foretold / measured if measured != float("inf") else 0.75
    return replace(machine, memory_bytes=machine.memory_bytes * min(1.0, share))


def take_steps(config: TrainConfig, cohort: Cohort, device: torch.device) -> float:
    """Train a new network on noise as a run would on scans; the loss of the last step."""
    loop = config.training
    layout = "channels_last" if loop.layout == "auto" else loop.layout
    spacing = [mm or 1.0 for mm in config.prepare.spacing_mm]
    plan = patch_plan(config, spacing)
    task = task_of_parts(config, cohort, plan, network_of(config, cohort), layout).to(device)
    average = [each.detach().clone() for each in task.network.parameters()]
    optimizer = build_optimizer(task.network, loop, fused=True)
    batch = _noise(cohort, plan, spacing).to(device)
    dtype = dtype_of(loop.precision, device)
    for _ in range(_STEPS):
        with (
            tf32(allowed=loop.precision == "tf32"),
            torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32),
        ):
            loss = task.training_step(batch, 0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.network.parameters(), loop.clip)
        optimizer.step()
    del average
    return float(loss.detach())


def _noise(cohort: Cohort, plan: PatchPlan, spacing_mm: list[float]) -> Patches:
    """A batch with values, types and columns as they come from prepared cases."""
    generator = torch.Generator().manual_seed(plan.seed)
    shape, classes = (plan.batch, *plan.source_shape), len(cohort.labels.values) + 1
    is_partly_known = any(case.labelled for case in cohort.select(split="train").cases)
    return Patches(
        torch.randn(shape[0], len(cohort.channels), *shape[1:], generator=generator).half(),
        torch.randint(0, classes, shape, generator=generator, dtype=torch.int16),
        torch.tensor([[spacing_mm[axis] for axis in plan.axes]] * plan.batch),
        torch.arange(plan.batch),
        torch.ones(plan.batch, classes, dtype=torch.bool) if is_partly_known else None,
        torch.zeros(plan.batch, dtype=torch.long),
    )
