"""How does one training run go?  A config and a cohort in, a model folder out."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import lightning as L
import torch
from torch import nn

from medseg.config import TrainConfig
from medseg.errors import BadConfig, BadModel
from medseg.losses import build_loss
from medseg.manifests import Case, Cohort
from medseg.model import CARD, Model, load_model
from medseg.networks import build_network
from medseg.training.callbacks import Curves, Progress, Report, Schedule, WholeScanValidation
from medseg.training.checkpoints import Interruption, WholeCheckpoints, checkpoint_callback
from medseg.training.data import PatchData, TrainingData, patch_shape, prepare_cohort, slice_axis
from medseg.training.module import AveragedWeights, SegmentationTask
from medseg.training.run import Run, read_schedule
from medseg.training.saving import infer_config, save_run
from medseg.training.validate import NetworkInTraining, whole_scan_dice
from medseg.transforms.augment import Augment, allowed_mirrors

_log = logging.getLogger(__name__)
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no tips, no list of devices


def train(
    config: TrainConfig,
    cohort: Cohort,
    run: Run,
    *,
    prepared: Callable[[int, int], None],
    report: Report,
) -> Model:
    """Prepare, train, save; a run that was cut short goes on from its last checkpoint.

    Args:
        config: what to train.
        cohort: its train rows are used, its test rows are not opened.
        run: where.
        prepared: called as cases are prepared.
        report: called after every step.

    Raises:
        BadConfig: the config asks for something that does not exist or must not be done.
        BadCohort: no case can be used, or one is refused and ``on_error`` says so.
        KeyboardInterrupt: Ctrl-C, after the step it came in; its state is kept.
    """
    check_config(config, cohort)
    if (run.model / CARD).is_file():
        _log.info("the run is over: nothing is left to do")
        return load_model(run.model)
    run.folder.mkdir(parents=True, exist_ok=True)
    data = prepare_cohort(config, cohort, run.cache or run.folder / "cache", prepared)
    for case, reason in data.left_out.items():
        _log.warning("case %s is left out: %s", case, reason)
    L.seed_everything(config.training.seed, verbose=False)
    task = build_task(config, cohort, data, run)
    _fit(task, config, data, run, _callbacks(config, cohort, data, run, report))
    if task.skipped:
        _log.warning("%d steps changed nothing: a gradient was not finite", int(task.skipped))
    return save_run(task, config, cohort, data, run)


def check_config(config: TrainConfig, cohort: Cohort) -> None:
    """Refuse what could only fail later.

    Raises:
        BadConfig: unknown network, loss, option or label; mirrors at test time that training
            lacks.
    """
    build_loss(config.loss, cohort.labels)
    build_network(
        config.network.name,
        dims=config.dims,
        in_channels=len(cohort.channels),
        out_channels=cohort.labels.channels,
        options=config.network.options,
    )
    if len(config.prepare.normalise) not in (1, len(cohort.channels)):
        raise BadConfig(
            "prepare.normalise does not fit the cohort's channels",
            found=f"{len(config.prepare.normalise)} rules",
            expected=f"1 or {len(cohort.channels)}",
        )
    named = {name for rule in config.postprocess for name in (rule.label, rule.of) if name}
    unknown = sorted(named - {"*", *cohort.labels.names})
    if unknown:
        raise BadConfig(
            "postprocess names labels that the cohort does not have",
            found=", ".join(unknown),
            expected=", ".join(cohort.labels.names),
        )
    trained = allowed_mirrors(config.augment, cohort.labels)
    untrained = sorted(set(config.infer.mirror_axes) - set(trained))
    if untrained:
        raise BadConfig(
            "infer.mirror_axes asks for mirrors that training does not show the network",
            found=untrained,
            expected=f"axes among {list(trained)}",
            remedy="Train them with augment.mirror_axes, or leave them out of infer.mirror_axes.",
        )
    if 0 in config.augment.mirror_axes and 0 not in trained:
        _log.warning(
            "left and right are not mirrored although augment.mirror_axes says so: a label has a"
            " side and no partner to swap with"
        )


def build_task(
    config: TrainConfig, cohort: Cohort, data: TrainingData, run: Run
) -> SegmentationTask:
    """Network, loss and augmentation of a run, weights from the seed or from another model."""
    sliced = slice_axis(config, data.train)
    patch = patch_shape(config, sliced)
    axes = tuple(axis for axis in range(3) if axis != sliced)
    network = build_network(
        config.network.name,
        dims=config.dims,
        in_channels=len(cohort.channels),
        out_channels=cohort.labels.channels,
        options=config.network.options,
    )
    if run.init is not None:
        _start_from(network, load_model(run.init))
    augment = Augment(config.augment, patch, axes, cohort.labels, config.training.seed)
    return SegmentationTask(
        network,
        build_loss(config.loss, cohort.labels),
        augment,
        config.training,
        config.training.steps,
    )


def _start_from(network: nn.Module, model: Model) -> None:
    """Copy every tensor that fits; the head of other labels starts anew."""
    state = model.networks()[0].state_dict()
    own = network.state_dict()
    fitting = {
        name: value
        for name, value in state.items()
        if name in own and own[name].shape == value.shape
    }
    if len(fitting) < len(own) / 2:
        raise BadModel(
            "the model to start from has another architecture",
            path=model.folder,
            found=f"{len(fitting)} fitting tensors of {len(own)}",
            expected="the same network and options",
        )
    network.load_state_dict({**own, **fitting})


def _fit(
    task: SegmentationTask,
    config: TrainConfig,
    data: TrainingData,
    run: Run,
    callbacks: Sequence[L.Callback],
) -> None:
    """Step by step to the end, from the last checkpoint where there is one."""
    resume = run.checkpoint if run.checkpoint.is_file() else None
    if resume is not None:
        task.total_steps = read_schedule(run.schedule) or task.total_steps
    averaged = AveragedWeights(config.training.ema)
    trainer = L.Trainer(
        accelerator="cpu" if run.device.type == "cpu" else "gpu",
        devices=1 if run.device.type == "cpu" else [run.device.index or 0],
        precision=lightning_precision(config.training.precision, run.device),
        max_epochs=-1,
        max_steps=task.total_steps or -1,
        callbacks=[averaged, *callbacks],
        plugins=[WholeCheckpoints()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        limit_val_batches=0,
        default_root_dir=run.folder,
    )
    with warnings.catch_warnings(), _interrupts_told(trainer):
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists.*")
        trainer.fit(
            task,
            datamodule=PatchData(config, data.train),
            ckpt_path=resume,
            weights_only=None if resume is None else False,
        )
    averaged.settle(task)
    task.steps_done = trainer.global_step


@contextmanager
def _interrupts_told(trainer: L.Trainer) -> Iterator[None]:
    """Ctrl-C as Python tells it; Lightning would end the process with its own exit code."""
    try:
        yield
    except SystemExit as end:
        if trainer.interrupted:
            raise KeyboardInterrupt from end
        raise


def _callbacks(
    config: TrainConfig, cohort: Cohort, data: TrainingData, run: Run, report: Report
) -> list[L.Callback]:
    """What happens beside the steps, in this order after each of them."""
    loop = config.training
    deadline = None if loop.minutes is None else run.started + 60 * loop.minutes
    schedule = Schedule(run.schedule, deadline, loop.validations if data.validation else 0)
    curves = Curves(run.folder)
    validation = None
    if data.validation:
        score = partial(_score, config, cohort, data, run.device)
        validation = WholeScanValidation(score, curves, schedule, loop.validations)
    return [
        schedule,
        curves,
        *([validation] if validation else []),
        Progress(report, validation),
        Interruption(run.checkpoint),
        checkpoint_callback(run.checkpoint, loop.checkpoint_minutes),
    ]


def _score(
    config: TrainConfig,
    cohort: Cohort,
    data: TrainingData,
    device: torch.device,
    network: nn.Module,
) -> Mapping[str, float]:
    rows: list[Case] = [case for case, _ in data.validation[: config.training.validation_cases]]
    model = NetworkInTraining(
        network,
        cohort.labels,
        config.dims,
        slice_axis(config, data.train),
        config.prepare,
        infer_config(config, data),
    )
    return whole_scan_dice(model, cohort, rows, device)


def lightning_precision(precision: str, device: torch.device) -> Any:
    """Lightning's word for a precision; ``auto``: bfloat16 where the processor multiplies it."""
    if precision == "auto":
        in_hardware = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        native = device.type == "cuda" or in_hardware
        precision = "bfloat16" if native else "float32"
    return {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}[precision]
