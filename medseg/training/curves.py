"""Shows how a run goes: ``curves.csv``, ``curves.png`` and the board of a tracker.

A resumed run first drops what lies after its checkpoint, so that no step is there twice.
"""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch

from medseg.errors import BadOutput
from medseg.tables import inert, read_csv
from medseg.training.budget import SPARE_SHARE
from medseg.training.module import task_of
from medseg.training.run import DAMAGED, Draw, Row
from medseg.training.trackers import Board, Outcome
from medseg.writers.atomic import atomic_path

_log = logging.getLogger(__name__)


class Table:
    """A CSV that grows by rows while a run goes on.

    Args:
        path: where.
        columns: ``step`` among them.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = tuple(columns)

    def cut_back(self, step: int) -> None:
        """Drop the rows after a step."""
        if not self.path.is_file():
            return
        rows = [row for row in read_rows(self.path) if _step(row, self.path) <= step]
        with (
            atomic_path(self.path) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, self.columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(map(_inert, rows))

    def add(self, *rows: Mapping[str, object]) -> None:
        """Append rows; columns that a row lacks stay empty."""
        begun = self.path.is_file()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            if not begun:
                writer.writeheader()
            writer.writerows(map(_inert, rows))


def read_rows(path: Path) -> list[Row]:
    """The rows of a run's table; none where there is no file.

    Raises:
        BadOutput: the file is no table.
    """
    return [row.cells for row in read_csv(path, refusal=BadOutput)[1]] if path.is_file() else []


def _step(row: Row, path: Path) -> int:
    try:
        return int(row["step"])
    except (KeyError, ValueError):
        raise BadOutput(
            "a row has no step", path=path, found=str(dict(row))[:80], remedy=DAMAGED
        ) from None


def _inert(row: Mapping[str, object]) -> dict[str, object]:
    """A row that no spreadsheet runs as a formula."""
    return {name: inert(cell) if isinstance(cell, str) else cell for name, cell in row.items()}


def read_curves(path: Path) -> list[Row]:
    """The rows of a ``curves.csv``; none where there is no file."""
    return read_rows(path)


class Curves(L.Callback):
    """Keeps ``curves.csv`` and ``validation.csv``, redraws ``curves.png``, feeds a tracker.

    Args:
        folder: of the run.
        data_wait: share of the time so far that was spent waiting for patches.
        draw: makes the picture; ``None`` for none.
        every: steps a row.
        open_board: (steps done) to the board of a tracker; ``None`` for none.
    """

    columns = ("step", "minutes", "loss", "learning_rate", "data_wait", "dice", "detail")

    def __init__(
        self,
        folder: Path,
        data_wait: Callable[[], float],
        draw: Draw | None = None,
        every: int = 10,
        open_board: Callable[[int], Board | None] = lambda step: None,
    ) -> None:
        self.folder = folder
        self.table = Table(folder / "curves.csv", self.columns)
        self.cases = Table(folder / "validation.csv", ("step", "case", "label", "dice"))
        self.data_wait = data_wait
        self.draw = draw
        self.every = every
        self.minutes_before = 0.0
        self._losses: list[torch.Tensor] = []
        self._started = time.monotonic()
        self._drawing_seconds = 0.0
        self._is_drawn = False
        self._open_board = open_board
        self._board: Board | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the files, or cut them back to the checkpoint."""
        del pl_module
        self.table.cut_back(trainer.global_step)
        self.cases.cut_back(trainer.global_step)
        rows = read_rows(self.table.path)
        self.minutes_before = float(rows[-1]["minutes"]) if rows else 0.0
        self._board = self._open_board(trainer.global_step)
        self._started = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any
    ) -> None:
        """Write the mean loss of the last steps."""
        del args
        loss = outputs["loss"].detach().float()
        self._losses.append(loss)
        if trainer.global_step % self.every == 0:
            mean = float(torch.stack([each.to(loss.device) for each in self._losses]).mean())
            self._losses.clear()
            rate = float(trainer.optimizers[0].param_groups[0]["lr"])
            self.add(trainer.global_step, loss=mean, learning_rate=rate, data_wait=self.data_wait())
            if task_of(pl_module).total_steps is not None and self._has_spare_time():
                self.redraw()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: the losses since the last row."""
        return {"losses": [float(loss) for loss in self._losses]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the row that was begun."""
        self._losses = [torch.tensor(loss) for loss in state_dict["losses"]]

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The picture of the whole run."""
        del trainer, pl_module
        self.redraw()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Close what is open."""
        del trainer, pl_module, stage
        self._close_board("success")

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """The same where an error or Ctrl-C ends the run: no teardown follows then.

        A tracker that fails as well is a line in the log; the first error is the one to hear of.
        """
        del trainer, pl_module, exception
        try:
            self._close_board("failed")
        except Exception:  # noqa: BLE001 - whatever a tracker's package raises
            _log.warning("the tracker could not be closed", exc_info=True)

    def add(self, step: int, *, detail: str = "", **figures: float) -> None:
        """Append one row of figures."""
        minutes = self.minutes_before + (time.monotonic() - self._started) / 60
        written = {name: f"{value:.5g}" for name, value in figures.items()}
        self._is_drawn = False
        self.table.add({"step": step, "minutes": f"{minutes:.3f}", **written, "detail": detail})
        self._show(step, figures)

    def add_validation(self, step: int, cases: Mapping[str, Mapping[str, float]]) -> float:
        """Keep the Dice of each case and label; returns their mean, a label at a time."""
        self.cases.add(
            *(
                {"step": step, "case": case, "label": label, "dice": f"{dice:.5f}"}
                for case, scores in cases.items()
                for label, dice in scores.items()
            )
        )
        labels = mean_by_label(cases.values())
        mean = sum(labels.values()) / max(1, len(labels))
        detail = " ".join(f"{name}={value:.4f}" for name, value in labels.items())
        self.add(step, dice=mean, detail=detail)
        self._show(step, {f"dice/{name}": value for name, value in labels.items()})
        return mean

    def redraw(self) -> None:
        """Draw ``curves.png`` again, unless it shows every row already."""
        if self.draw is None or self._is_drawn:
            return
        started = time.monotonic()
        picture = self.draw(read_rows(self.table.path), read_rows(self.cases.path))
        with atomic_path(self.folder / "curves.png") as temporary:
            temporary.write_bytes(picture)
        self._is_drawn = True
        self._drawing_seconds += time.monotonic() - started

    def _has_spare_time(self) -> bool:
        return self._drawing_seconds < SPARE_SHARE * (time.monotonic() - self._started)

    def _close_board(self, outcome: Outcome) -> None:
        board, self._board = self._board, None
        if board is not None:
            board.close(outcome)

    def _show(self, step: int, figures: Mapping[str, float]) -> None:
        if self._board is not None:
            self._board.show(step, figures)


def mean_by_label(cases: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Mean over the cases in which a label's Dice is defined."""
    found: dict[str, list[float]] = {}
    for scores in cases:
        for label, dice in scores.items():
            found.setdefault(label, []).append(dice)
    return {label: sum(values) / len(values) for label, values in found.items()}
