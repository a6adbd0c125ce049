"""One real step of a plan on a GPU, without a scan: how much memory it takes indeed."""

from __future__ import annotations

import gc
from dataclasses import replace

import torch

from medseg.config import TrainConfig
from medseg.losses import build_loss, deep_loss
from medseg.manifests import Cohort
from medseg.networks import build_network
from medseg.planning.cost import Machine
from medseg.planning.memory import GPU_CONTEXT_BYTES, GPU_SLACK


def memory_of_a_step(config: TrainConfig, cohort: Cohort, device: torch.device) -> float:
    """Peak bytes of the card for a step of noise, or infinity where it runs out.

    Network, loss, gradients, optimiser and average as in a run; augmenting takes less than that.

    Args:
        config: of the plan.
        cohort: its channels and labels count.
        device: a GPU.
    """
    torch.cuda.reset_peak_memory_stats(device)
    try:
        _step(config, cohort, device)
        return GPU_CONTEXT_BYTES + GPU_SLACK * torch.cuda.max_memory_allocated(device)
    except torch.OutOfMemoryError:
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


def _step(config: TrainConfig, cohort: Cohort, device: torch.device) -> None:
    """Forward, backward and one update, twice: the first claims what the second counts on."""
    network = build_network(
        config.network.name,
        dims=config.dims,
        in_channels=len(cohort.channels),
        out_channels=cohort.labels.channels,
        options=config.network.options,
    ).to(device)
    average = [each.detach().clone() for each in network.parameters()]
    loss = build_loss(config.loss, cohort.labels).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    shape = (config.training.batch, *config.patch[: config.dims])
    classes = torch.randint(0, len(cohort.labels.values) + 1, shape, device=device)
    image = torch.randn(shape[0], len(cohort.channels), *shape[1:], device=device)
    for _ in range(2):
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype=torch.bfloat16):
            logits = network.forward_deep(image)  # type: ignore[operator]
        deep_loss(loss, logits, classes).backward()
        optimizer.step()
    del average
