"""The average of the weights over the last steps: what is validated and saved."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn

from medseg.training.module import SegmentationTask


class AveragedWeights(WeightAveraging):
    """Exponential moving average of the weights, short at first so that it forgets the start.

    It lies on the device of the run, and its counter on the CPU: no step waits for either.

    Args:
        decay: weight of the past.
        device: of the run.
    """

    def __init__(self, decay: float, device: torch.device) -> None:
        super().__init__(device=device, use_buffers=False)
        self.decay = decay
        self._pairs: tuple[list[Tensor], list[Tensor]] | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Copy the task to the device."""
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:
            self._average_model.n_averaged = self._average_model.n_averaged.cpu()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        """Move the average a little towards the weights."""
        del args
        average = self._average_model
        if average is None or trainer.global_step <= self._latest_update_step:
            return
        if self._pairs is None:
            self._pairs = (
                [each.detach() for each in average.module.parameters()],
                [each.detach() for each in pl_module.parameters()],
            )
        averaged, current = self._pairs
        count = int(average.n_averaged)
        share = 1.0 if count == 0 else 1 - min(self.decay, (1 + count) / (10 + count))
        torch._foreach_lerp_(averaged, current, share)
        for mine, theirs in zip(average.module.buffers(), pl_module.buffers(), strict=True):
            mine.copy_(theirs)
        average.n_averaged += 1
        self._latest_update_step = trainer.global_step

    def settle(self, task: SegmentationTask) -> None:
        """Make the average the task's weights, also where a resumed run had no step left."""
        self._copy_average_to_current(task)

    def network(self) -> nn.Module:
        """The network with averaged weights, as it is while the run goes on."""
        if self._average_model is None:
            raise RuntimeError("there is no average before the run begins")
        network = self._average_model.module.network
        if not isinstance(network, nn.Module):
            raise TypeError(f"expected a network, got {type(network).__name__}")
        return network
