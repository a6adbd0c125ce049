"""Trains one network of the study: AdamW, warm-up and cosine, Dice and cross-entropy."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medseg.config import Choice
from medseg.losses import build_loss
from medseg.networks import build_network
from medseg.networks.blocks import LAYERS
from medseg.networks.classifier import Classifier, convolutionalise
from medseg.networks.fcn import FCN, FCNOptions
from study.cells import Cell
from study.cohorts import StudyCohort
from study.stream import Stream

LEARNING_RATE, WEIGHT_DECAY, CLIP, WARM_UP = 3e-3, 1e-2, 1.0, 0.1

#: Voxels an axis of the classifier's patches: three of its cells of 32.
CLASSIFIED = 96


@dataclass(frozen=True)
class Trained:
    """A network, evaluating, and what training it took."""

    network: nn.Module
    steps: int
    seconds: float
    peak_bytes: int
    last_loss: float


def built(cell: Cell, cohort: StudyCohort, seed: int) -> nn.Module:
    """The cell's network, untrained; the seed decides its weights."""
    torch.manual_seed(seed)
    classes = len(cohort.labels) + 1
    if cell.network == "classifier":
        options = FCNOptions(**cell.options)
        return Classifier(cohort.dims, 1, classes, options, size=CLASSIFIED)
    return build_network(
        cell.network, dims=cohort.dims, in_channels=1, out_channels=classes, options=cell.options
    )


def begin_as(
    network: nn.Module, weights: dict[str, Tensor], source: Cell, cohort: StudyCohort
) -> None:
    """Take over the weights of the cell that this one starts from."""
    if not isinstance(network, FCN):
        raise TypeError("only an FCN starts from another network")
    if source.network == "classifier":
        weights = convolutionalise(classifier_with(weights, source, cohort)).state_dict()
    network.start_from_coarser(weights)


def classifier_with(weights: dict[str, Tensor], cell: Cell, cohort: StudyCohort) -> Classifier:
    """The trained patch classifier."""
    classifier = built(cell, cohort, 0)
    if not isinstance(classifier, Classifier):
        raise TypeError(f"cell {cell.name} holds no classifier")
    classifier.load_state_dict(weights)
    return classifier


def train(network: nn.Module, stream: Stream, steps: int) -> Trained:
    """Train on the stream's first batches."""
    device, dims = stream.device, stream.cohort.dims
    network.to(device, memory_format=LAYERS[dims].memory_format)  # type: ignore[call-overload]
    network.train()
    fused = device.type == "cuda"
    optimiser = torch.optim.AdamW(_groups(network), lr=LEARNING_RATE, fused=fused)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps))
    loss_of = build_loss(Choice(name="dice_ce"), stream.cohort.table).to(device)
    classify = isinstance(network, Classifier)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    stream.make(steps)
    started, loss = time.perf_counter(), torch.zeros(())
    for step in range(steps):
        image, classes = stream[step]
        if classify:
            image, target = centred_patches(image, classes, step)
            loss = nn.functional.cross_entropy(network(image), target)
        else:
            loss = loss_of(network(image), classes, None)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimiser.step()
        schedule.step()
    last = float(loss.detach())  # waits for the device
    seconds = time.perf_counter() - started
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return Trained(network.eval(), steps, seconds, peak, last)


def centred_patches(image: Tensor, classes: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """(B, 1, 96, 96) patches around a voxel of a class drawn evenly, and that voxel's class.

    Patches reach beyond the slice where they must; the border repeats there.
    """
    half = CLASSIFIED // 2
    chance = torch.Generator().manual_seed(step)
    wide = nn.functional.pad(image, (half,) * 4, mode="replicate")
    patches, targets = [], []
    for one, truth in zip(wide, classes.cpu(), strict=True):
        present = torch.unique(truth[truth >= 0])
        wanted = int(present[torch.randint(len(present), (), generator=chance)])
        places = (truth == wanted).nonzero()
        x, y = places[torch.randint(len(places), (), generator=chance)].tolist()
        patches.append(one[:, x : x + CLASSIFIED, y : y + CLASSIFIED])
        targets.append(wanted)
    return torch.stack(patches), torch.tensor(targets, device=image.device)


def _groups(network: nn.Module) -> list[dict[str, object]]:
    """Weights decay; biases and norms do not."""
    many = [p for p in network.parameters() if p.ndim > 1]
    few = [p for p in network.parameters() if p.ndim <= 1]
    return [
        {"params": many, "weight_decay": WEIGHT_DECAY},
        {"params": few, "weight_decay": 0.0},
    ]


def _rate(step: int, steps: int) -> float:
    """Share of the learning rate at a step."""
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
