"""One training step as Lightning wants it: augmented batch in, finite gradients out."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from medseg.config import LoopConfig
from medseg.errors import TrainingFailed
from medseg.losses import deep_loss
from medseg.memory import is_out_of_memory
from medseg.training.data import PatchData
from medseg.training.layout import Layout, memory_format
from medseg.training.length import Length
from medseg.training.optimiser import build_optimizer, rate
from medseg.training.parts import split
from medseg.transforms.augment import Augment, Patches

_log = logging.getLogger(__name__)

#: So many steps in a row without a finite gradient end a run.
_HOPELESS = 50

#: Steps between looks at what a GPU has counted: each makes the host wait for it.
_LOOK_EVERY = 10


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
        length: of the run, with corrections where a time budget made them.
        steps_done: set when the run is over.
        skipped: steps that changed nothing because a loss or gradient was not finite.
        skipped_in_a_row: the last ones of them, up to now.
        repeated: steps whose gradient was finite only when computed once more in float32.
        parts: a batch goes through in so many parts, one after the other; doubled where
            memory runs out.
        layout: order of an image's values in memory; the network's weights lie so too.
        tell_parts: called with (step, parts) when that happens.
        batch_ended: ``time.monotonic()`` when everything after the last step was over.
        device_ended: of a GPU, happens when it has done all that it was told in that step.
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
        self.length = Length(((loop.warmup, total_steps),)) if total_steps else None
        self.steps_done = 0
        self.parts = 1
        self.tell_parts: Callable[[int, int], None] = lambda step, parts: None
        self.batch_ended: float | None = None
        self.device_ended: torch.cuda.Event | None = None
        self.deep_strides = getattr(network, "deep_strides", None)
        self.layout: Layout = "channels_last"
        self._run_network: Any = None
        self._gradients_are_ready = False
        self._in_float32 = False
        self._loss_of_step: Tensor | None = None
        self.skipped_in_a_row: Tensor | int = 0
        self._patches_here = loop.batch
        self.register_buffer("skipped", torch.zeros((), dtype=torch.long))
        self.register_buffer("repeated", torch.zeros((), dtype=torch.long))

    skipped: Tensor
    repeated: Tensor

    @property
    def total_steps(self) -> int | None:
        """Length of the run as planned now; ``None`` before a time budget is turned into steps."""
        return self.length.steps if self.length else None

    def forward(self, image: Tensor) -> Tensor:
        """The finest logits."""
        logits: Tensor = self.network(image)
        return logits

    def training_step(self, batch: Patches, batch_idx: int) -> Tensor:
        """Loss of an augmented batch; chance depends on (seed, number of the patch) alone.

        Of a batch in several parts all but the last are done with, backwards too, when this
        returns; their gradients stay and the last part's are added.
        """
        del batch_idx
        self.network.zero_grad(set_to_none=True)
        seeds = np.random.SeedSequence((self.loop.seed, int(batch.index[0])))
        torch.manual_seed(int(seeds.generate_state(1)[0]))  # dropout
        self._patches_here = len(batch.index)
        *earlier, last = split(batch, self.parts)
        done = torch.zeros((), device=batch.image.device)
        for part in earlier:
            loss = self._loss(part) * (len(part.index) / len(batch.index))
            self.trainer.strategy.backward(loss, None)
            torch.clear_autocast_cache()
            done += loss.detach()
        return self._loss(last) * (len(last.index) / len(batch.index)) + done

    def _loss(self, batch: Patches) -> Tensor:
        device = batch.image.device.type
        with torch.autocast(device, enabled=False):  # in 16 bits voxels beyond 256 are not exact
            patches = self.augment(batch)
        if self._run_network is None:
            # a method: a network of that name would be a part of the task a second time
            run: Any = self.network.forward_deep
            self._run_network = torch.compile(run) if self.loop.compile else run
        order = memory_format(self.layout, len(self.augment.patch))
        image = patches.image.contiguous(memory_format=order)
        full = torch.autocast(device, enabled=False) if self._in_float32 else nullcontext()
        with full:  # a step that is repeated; others as the trainer computes
            logits: Sequence[Tensor] = self._run_network(image)
        return deep_loss(
            self.loss, logits, patches.classes, patches.known, strides=self.deep_strides
        )

    def optimizer_zero_grad(self, *args: Any) -> None:
        """Nothing: gradients are cleared when a step begins, and its parts add to them."""

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """One step; again in more parts where memory runs out, again in float32 for a gradient.

        bfloat16 gives a gradient that is not finite once in a while although the loss is (on
        CPUs: the weights of 3D convolutions over very few voxels). Such a step is computed
        once more in float32 from the same patches, so that none is lost.

        Raises:
            TrainingFailed: one patch alone does not fit; or one of several processes ran out
                of memory, and all must begin again; or step after step is not finite.
        """
        self._in_float32 = False
        while True:
            self._gradients_are_ready = False
            try:
                super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
                return
            except _NotFinite:
                self._in_float32 = True
                continue
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self._gradients_are_ready:
                    raise
            self._retreat()

    def _retreat(self) -> None:
        """Make room: the cases leave the GPU, or batches go through in more parts.

        Of several processes the others wait in this step for the one that ran out: it alone can
        give up its cases no more than it can go through in parts.
        """
        # asked for, not kept: the average of the weights copies all that the task holds
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        freed = self.trainer.world_size == 1 and isinstance(data, PatchData) and data.relieve()
        if not freed:
            self._halve()
        self.network.zero_grad(set_to_none=True)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _halve(self) -> None:
        """Twice as many parts a batch from here on."""
        here = self._patches_here
        if self.parts >= here:
            raise TrainingFailed(
                "memory ran out with a single patch",
                found=f"patches of {list(self.augment.patch)} voxels",
                expected="less",
                remedy="Choose a smaller patch or fewer features, or training.cases_on_device=0"
                " on a GPU, then start again.",
            )
        self.parts = min(2 * self.parts, here)
        step = self.trainer.global_step
        self.tell_parts(step, self.parts)
        if self.trainer.world_size > 1:
            raise TrainingFailed(
                f"memory ran out in process {self.trainer.global_rank} at step {step}",
                remedy=f"With --resume the run goes on with each batch in {self.parts} parts.",
            )

    def on_train_batch_end(self, *args: Any) -> None:
        """Comes after all callbacks: from here the next batch is waited for."""
        self.batch_ended = time.monotonic()
        if self.device.type == "cuda":
            self.device_ended = torch.cuda.Event()
            self.device_ended.record()

    def configure_optimizers(self) -> Any:
        """AdamW, and its rate step by step."""
        # one kernel for all weights, which leaves them alone where it is told so on the device;
        # float16 is scaled by torch, which asks the host
        fused = self.device.type == "cuda" and self.trainer.precision != "16-mixed"
        optimizer = build_optimizer(self.network, self.loop, fused=fused)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def rate(self, step: int) -> float:
        """Learning rate of a step as a share of the peak."""
        return rate(step, self.loop, self.length)

    def share(self, step: int) -> float:
        """How far a step is on the way from the warm-up to the last one, 0-1."""
        return self.length.progress(step) if self.length else 0.0

    def on_before_backward(self, loss: Tensor) -> None:
        """Keep the loss to judge the step by; of several processes each knows its own alone."""
        self._loss_of_step = loss.detach() if self.trainer.world_size == 1 else None

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip; where loss or gradient is not finite the step changes nothing and is counted.

        A GPU judges by itself, and the host looks now and then how often it was so.
        """
        del gradient_clip_val, gradient_clip_algorithm
        self._gradients_are_ready = True
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.loop.clip)
        if self._loss_of_step is not None:
            norm = norm + 0 * self._loss_of_step  # NaN where the loss is not finite
        if optimizer.param_groups[0].get("fused"):
            self._judge_on_device(optimizer, norm)
            return
        if torch.isfinite(norm):
            self.skipped_in_a_row = 0
            self.repeated += self._in_float32
            return
        if self.trainer.precision == "bf16-mixed" and not self._in_float32:
            raise _NotFinite
        optimizer.zero_grad(set_to_none=True)
        self.skipped += 1
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row >= _HOPELESS:
            raise diverged(f"{_HOPELESS} steps in a row without a finite gradient")

    def _judge_on_device(self, optimizer: torch.optim.Optimizer, norm: Tensor) -> None:
        """Let the fused optimiser leave a step out, as a gradient scaler would tell it."""
        wrong = (~torch.isfinite(norm)).float()
        optimizer.found_inf = wrong  # type: ignore[attr-defined]
        self.skipped += wrong.long()
        self.skipped_in_a_row = (self.skipped_in_a_row + wrong) * wrong
        if self.trainer.global_step % _LOOK_EVERY == 0 and self.skipped_in_a_row >= _HOPELESS:
            raise diverged(f"{_HOPELESS} steps in a row without a finite gradient")


class _NotFinite(Exception):
    """A gradient in 16 bits is not finite; in 32 bits it may be."""


def diverged(found: str) -> TrainingFailed:
    """What a run is refused with that came to nothing."""
    return TrainingFailed(
        "the training diverged: no model is left",
        found=found,
        expected="finite gradients and weights",
        remedy="Lower training.learning_rate, or set training.precision=float32, and check the"
        " scans for extreme values; then start again in another folder.",
    )


def task_of(module: L.LightningModule) -> SegmentationTask:
    """The module of a run, which is always a task of ours."""
    if not isinstance(module, SegmentationTask):
        raise TypeError(f"expected a SegmentationTask, got {type(module).__name__}")
    return module
