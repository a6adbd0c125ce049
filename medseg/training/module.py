"""One training step as Lightning wants it: augmented batch in, finite gradients out."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn

from medseg.config import LoopConfig
from medseg.losses import deep_loss
from medseg.transforms.augment import Augment, Patches


class SegmentationTask(L.LightningModule):
    """Network + loss + optimiser.

    Args:
        network: (B, C, *spatial) to (B, K, *spatial) logits.
        loss: of logits and class indices.
        augment: applied to every batch on the device.
        loop: optimiser settings.
        total_steps: length of the run, or ``None`` until a time budget has been turned into
            steps; the warm-up's learning rates do not depend on it.

    Attributes:
        steps_done: set when the run is over.
        skipped: steps that changed nothing because a gradient was not finite.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        augment: Augment,
        loop: LoopConfig,
        total_steps: int | None,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.augment = augment
        self.loop = loop
        self.total_steps = total_steps
        self.steps_done = 0
        self.deep = bool(getattr(network, "deep_supervision", False))
        self.register_buffer("skipped", torch.zeros((), dtype=torch.long))

    skipped: Tensor

    def forward(self, image: Tensor) -> Tensor:
        """The finest logits."""
        logits: Tensor = self.network(image)
        return logits

    def training_step(self, batch: Patches, batch_idx: int) -> Tensor:
        """Loss of an augmented batch; chance depends on (seed, number of the patch) alone."""
        del batch_idx
        patches = self.augment(batch)
        torch.manual_seed(_mixed(self.loop.seed, int(batch.index[0])))  # dropout
        if self.deep:
            logits = self.network.forward_deep(patches.image)  # type: ignore[operator]
            loss = deep_loss(self.loss, logits, patches.classes)
        else:
            loss = self.loss(self.network(patches.image), patches.classes)
        self.log("loss", loss.detach(), on_step=True, on_epoch=False)
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW (doi:10.48550/arXiv.1711.05101), linear warm-up, cosine to zero."""
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": self.loop.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.loop.learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def rate(self, step: int) -> float:
        """Learning rate of a step as a share of the peak."""
        if step < self.loop.warmup:
            return (step + 1) / (self.loop.warmup + 1)
        if self.total_steps is None:
            return 1.0
        done = (step - self.loop.warmup) / max(1, self.total_steps - self.loop.warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip; where a gradient is not finite the step changes nothing and is counted."""
        del gradient_clip_val, gradient_clip_algorithm
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.loop.clip)
        if not torch.isfinite(norm):
            optimizer.zero_grad(set_to_none=True)
            self.skipped += 1


class AveragedWeights(WeightAveraging):
    """Exponential moving average of the weights, short at first so that it forgets the start."""

    def __init__(self, decay: float) -> None:
        def average(averaged: Any, current: Any, count: Any) -> None:
            weight = min(decay, (1 + float(count)) / (10 + float(count)))
            torch._foreach_lerp_(list(averaged), list(current), 1 - weight)

        super().__init__(use_buffers=False, multi_avg_fn=average)

    def settle(self, task: SegmentationTask) -> None:
        """Make the average the task's weights, also where a resumed run had no step left."""
        self._copy_average_to_current(task)


def _mixed(*numbers: int) -> int:
    """A seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
