"""Keeps the state of a run in whole files: its last state, and the best weights so far."""

from __future__ import annotations

import signal
import threading
from datetime import timedelta
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251 - only to catch it
from typing import Any

import lightning as L
import safetensors.torch
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors import safe_open
from torch import Tensor, nn

from medseg.errors import BadOutput
from medseg.writers.atomic import atomic_path

#: Steps between agreements of several processes with GPUs.
_AGREE_EVERY = 10


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that appear whole or not at all, on whatever file system they lie.

    Lightning's own are written to the temporary folder and moved, which is a copy where that is
    another disk: a kill then leaves half a file in place of the last good one.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write and rename."""
        del storage_options
        with atomic_path(Path(path)) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read tensors and plain values; a file that would run code is refused.

        Raises:
            BadOutput: the file holds anything else, or is damaged.
        """
        del weights_only
        try:
            state: dict[str, Any] = torch.load(  # noqa: TID251 - tensors and plain values alone
                path, map_location=map_location, weights_only=True
            )
        except (UnpicklingError, RuntimeError, EOFError, OSError) as error:
            raise BadOutput(
                "the state of the run cannot be read",
                path=Path(path),
                found=str(error).splitlines()[0][:200],
                expected="a checkpoint that medseg train wrote",
                remedy="Remove it to start again, or choose another --output.",
            ) from None
        return state


def checkpoint_callback(path: Path, minutes: float) -> ModelCheckpoint:
    """Keeps the last state at `path`, this many minutes apart."""
    return ModelCheckpoint(
        path.parent,
        filename=path.stem,
        save_top_k=1,
        train_time_interval=timedelta(minutes=minutes),
        enable_version_counter=False,
        save_on_train_epoch_end=False,
    )


class Interruption(L.Callback):
    """Ctrl-C and SIGTERM end the run after the step it is at, with its state kept.

    SIGTERM is what Slurm and containers send before they kill. A second Ctrl-C does not wait.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked = False
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Listen, where signals can be heard."""
        del trainer, pl_module
        if threading.current_thread() is threading.main_thread():
            self._before = {
                number: signal.signal(number, self._hear)
                for number in (signal.SIGINT, signal.SIGTERM)
            }

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        """Keep the state and stop, if asked; of several processes all, where one was.

        Processes with a GPU each agree now and then: to agree, the host must wait for the GPU.
        """
        del args
        several = trainer.world_size > 1 and pl_module.device.type == "cuda"
        if several and trainer.global_step % _AGREE_EVERY:
            return
        if trainer.strategy.reduce_boolean_decision(self.asked, all=False):
            trainer.save_checkpoint(self.path)
            raise KeyboardInterrupt

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Listen no more."""
        del trainer, pl_module, stage
        self._listen_no_more()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """The same where an error or Ctrl-C ends the run: no teardown follows then."""
        del trainer, pl_module, exception
        self._listen_no_more()

    def _listen_no_more(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _hear(self, number: int, frame: object) -> None:
        del frame
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True


def write_best(path: Path, network: nn.Module, step: int, dice: float) -> None:
    """Keep the weights of the best validation so far, with its step and mean Dice."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in network.state_dict().items()}
    facts = {"step": str(step), "dice": repr(dice)}
    with atomic_path(path) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata=facts)


def read_best(path: Path) -> tuple[int, float] | None:
    """Step and mean Dice of the best weights, or ``None`` where none are kept."""
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
    return int(facts["step"]), float(facts["dice"])


def best_weights(path: Path) -> dict[str, Tensor]:
    """The weights that :func:`write_best` kept."""
    return safetensors.torch.load_file(path)
