"""The figures of a run in other people's trackers: TensorBoard, MLflow, Weights & Biases.

MLflow and Weights & Biases are used through Lightning's loggers and write into the run's folder
until the environment names a server (``MLFLOW_TRACKING_URI``, ``WANDB_MODE=online``). They see
losses, rates, mean Dice by label, and the config without the place of its card: nothing of a scan,
and no case.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from medseg.config import TrainConfig
from medseg.errors import BadConfig
from medseg.writers.atomic import atomic_path

_log = logging.getLogger(__name__)

#: In the run's folder: under which id a tracker knows the run, so that resuming goes on with it.
IDENTITY = "tracker.json"

#: How a run ended, in the words of Lightning's loggers.
Outcome = Literal["success", "failed"]


class Board(Protocol):
    """Where figures are shown."""

    def show(self, step: int, figures: Mapping[str, float]) -> None:
        """The figures of a step."""

    def close(self, outcome: Outcome) -> None:
        """The run is over, or was cut short."""


@dataclass(frozen=True)
class Tracker:
    """One entry of the table of trackers.

    Attributes:
        modules: any one of these is enough.
        extra: of medseg's packages, that installs it.
        open: (folder of the run, config, steps done) to a board.
    """

    modules: tuple[str, ...]
    extra: str
    open: Callable[[Path, TrainConfig, int], Board]

    def is_there(self) -> bool:
        """Whether its package is installed."""
        return any(importlib.util.find_spec(module) is not None for module in self.modules)


def require_tracker(name: str) -> None:
    """Refuse a tracker whose package is not installed, before any work.

    Raises:
        BadConfig: it is not; says how to get it.
    """
    if name in TRACKERS and not TRACKERS[name].is_there():
        raise BadConfig(
            f"training.logger={name} needs a package that is not installed",
            expected=" or ".join(TRACKERS[name].modules),
            remedy=f"Install it: pip install 'medseg[{TRACKERS[name].extra}]'.",
        )


def open_board(folder: Path, config: TrainConfig, step: int) -> Board | None:
    """The board that the config names, or ``None``; ``auto`` is TensorBoard where it is there.

    Args:
        folder: of the run.
        config: of the run.
        step: steps done before, of a run that goes on.

    Raises:
        BadConfig: a tracker is named whose package is not installed.
    """
    name = config.training.logger
    if name == "none":
        return None
    if name == "auto":
        try:
            return TRACKERS["tensorboard"].open(folder, config, step)
        except ImportError:
            _log.info("no tensorboard package: tensorboard is not written")
            return None
    require_tracker(name)
    return TRACKERS[name].open(folder, config, step)


class _TensorBoard:
    """Files for ``tensorboard --logdir``; what lies after the checkpoint is dropped."""

    def __init__(self, folder: Path, config: TrainConfig, step: int) -> None:
        del config
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(folder / "tensorboard", purge_step=step + 1)

    def show(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self, outcome: Outcome) -> None:
        del outcome
        self._writer.close()


class _Logged:
    """A board over one of Lightning's loggers."""

    def __init__(
        self, logger: Any, config: TrainConfig, name_of: Callable[[str], str] = str
    ) -> None:
        self._logger, self._name_of = logger, name_of
        settings = config.model_dump(mode="json", exclude={"cohort"})
        logger.log_hyperparams(settings)

    def show(self, step: int, figures: Mapping[str, float]) -> None:
        named = {self._name_of(name): value for name, value in figures.items()}
        self._logger.log_metrics(named, step=step)

    def close(self, outcome: Outcome) -> None:
        self._logger.finalize(outcome)


def _mlflow(folder: Path, config: TrainConfig, step: int) -> Board:
    from lightning.pytorch.loggers import MLFlowLogger

    del step
    server = os.environ.get("MLFLOW_TRACKING_URI")
    if server is None:
        # newer versions ask for this word before they write files in place of a database
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    logger = MLFlowLogger(
        experiment_name=Path(config.cohort).stem,
        run_name=folder.resolve().name,
        tracking_uri=server or (folder.resolve() / "mlruns").as_uri(),
        run_id=_known(folder, "mlflow"),
    )
    _remember(folder, "mlflow", str(logger.run_id))
    return _Logged(logger, config, mlflow_name)


def mlflow_name(figure: str) -> str:
    """A figure's name in MLflow, whose file store takes each for a path.

    >>> mlflow_name("dice"), mlflow_name("dice/left kidney"), mlflow_name("dice/a(b)")
    ('dice', 'dice_by_label/left kidney', 'dice_by_label/a_b_')
    """
    head, slash, label = figure.partition("/")
    return f"{head}_by_label/{re.sub(r'[^-.: 0-9A-Za-z]', '_', label)}" if slash else head


def _wandb(folder: Path, config: TrainConfig, step: int) -> Board:
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    del step
    offline = os.environ.get("WANDB_MODE", "offline") != "online"
    identity = _known(folder, "wandb") or secrets.token_hex(4)
    # no code, no state of a repository, nothing of what is printed: figures alone
    settings = wandb.Settings(disable_git=True, save_code=False, console="off", silent=True)
    logger = WandbLogger(
        name=folder.resolve().name,
        save_dir=folder,
        version=identity,
        offline=offline,
        project=Path(config.cohort).stem,
        resume=None if offline else "allow",
        settings=settings,
    )
    board = _Finished(logger, config)
    _remember(folder, "wandb", identity)
    return board


class _Finished(_Logged):
    """A board that must be told that nothing more comes."""

    def close(self, outcome: Outcome) -> None:
        super().close(outcome)
        self._logger.experiment.finish(exit_code=0 if outcome == "success" else 1)


def _known(folder: Path, tracker: str) -> str | None:
    try:
        identity = json.loads((folder / IDENTITY).read_text(encoding="utf-8"))[tracker]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(identity)


def _remember(folder: Path, tracker: str, identity: str) -> None:
    with atomic_path(folder / IDENTITY) as temporary:
        temporary.write_text(json.dumps({tracker: identity}) + "\n", encoding="utf-8")


#: ``training.logger`` -> how it is opened.
TRACKERS: dict[str, Tracker] = {
    "tensorboard": Tracker(("tensorboard",), "tensorboard", _TensorBoard),
    "mlflow": Tracker(("mlflow",), "mlflow", _mlflow),
    "wandb": Tracker(("wandb",), "wandb", _wandb),
}
