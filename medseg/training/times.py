"""Where the time of a run goes: steps, waiting for their patches, and the rest."""

from __future__ import annotations

import time
from typing import Any

import lightning as L

from medseg.training.module import task_of


class Times(L.Callback):
    """Counts the seconds of steps and of waiting for their data; kept over a resume.

    The first batch of a process is left out: opening files and claiming memory is no steady
    state. Comes before the callbacks whose time is not a step's.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.waiting = 0.0
        self.working = 0.0
        self._began: float | None = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        """The batch is here: what passed since everything else was over was waiting.

        A GPU that is still busy with what it was told before did not wait.
        """
        del trainer, args
        task = task_of(pl_module)
        self._began = time.monotonic()
        if task.batch_ended is None:
            return
        passed = self._began - task.batch_ended
        if task.device_ended is None or task.device_ended.query():
            self.waiting += passed
        else:
            self.working += passed

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        """The step is over."""
        del trainer, args
        if self._began is not None and task_of(pl_module).batch_ended is not None:
            self.working += time.monotonic() - self._began
            self.steps += 1

    def data_wait(self) -> float:
        """Share of the time of steps in which none ran because its batch was not there."""
        return self.waiting / max(1e-9, self.waiting + self.working)

    def seconds_a_step(self) -> float:
        """Mean time of a step with its waiting."""
        return (self.waiting + self.working) / max(1, self.steps)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"steps": self.steps, "waiting": self.waiting, "working": self.working}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.steps = int(state_dict["steps"])
        self.waiting = float(state_dict["waiting"])
        self.working = float(state_dict["working"])
