"""One training run: a config and a cohort in, a model folder out."""

from __future__ import annotations

import hashlib
import json
import logging
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint

from medseg.config import InferConfig, TrainConfig, load_yaml
from medseg.errors import BadConfig, BadModel, BadOutput
from medseg.losses import build_loss
from medseg.manifests import Cohort
from medseg.model import Fingerprint, Model, ModelCard, Provenance, load_model, save_model, versions
from medseg.networks import build_network
from medseg.training.cache import CachedCase
from medseg.training.callbacks import (
    Curves,
    Progress,
    Report,
    Schedule,
    WholeScanValidation,
    environment,
)
from medseg.training.data import PatchData, TrainingData, patch_shape, prepare_cohort, slice_axis
from medseg.training.module import AveragedWeights, SegmentationTask
from medseg.training.validate import NetworkInTraining, whole_scan_dice
from medseg.transforms.augment import Augment, allowed_mirrors
from medseg.writers.atomic import atomic_path

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """Where and how one run takes place.

    Attributes:
        folder: holds ``model/``, ``curves.csv``, ``schedule.json``, ``checkpoints/``, ``cache/``.
        device: chosen by the caller.
        started: ``time.monotonic()`` when the command began; a time budget counts from here.
        cache: folder of prepared cases; ``folder/cache`` when ``None``.
        init: model whose weights to start from.
    """

    folder: Path
    device: torch.device
    started: float
    cache: Path | None = None
    init: Path | None = None

    @property
    def checkpoint(self) -> Path:
        """The last state of the run."""
        return self.folder / "checkpoints" / "last.ckpt"


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
        BadCohort: no case can be used.
    """
    infer = check_config(config, cohort)
    run.folder.mkdir(parents=True, exist_ok=True)
    data = prepare_cohort(config, cohort, run.cache or run.folder / "cache", prepared)
    for case, reason in data.left_out.items():
        _log.warning("case %s is left out: %s", case, reason)
    L.seed_everything(config.training.seed, verbose=False)
    task = build_task(config, cohort, data, run)
    progress = _fit(task, config, cohort, data, infer, run, report)
    _log.info("waited for data %.1f %% of the time", 100 * progress.data_wait)
    return save_run(task, config, cohort, data, infer, run)


def check_config(config: TrainConfig, cohort: Cohort) -> InferConfig:
    """Refuse what could only fail later, and fill in what inference inherits from training.

    Raises:
        BadConfig: unknown network, loss or option; mirrors at test time that training lacks.
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
    trained = allowed_mirrors(config.augment, cohort.labels)
    untrained = sorted(set(config.infer.mirror_axes) - set(trained))
    if untrained:
        raise BadConfig(
            "infer.mirror_axes asks for mirrors that training does not show the network",
            found=untrained,
            expected=f"axes among {list(trained)}",
            remedy="Train them with augment.mirror_axes, or leave them out of infer.mirror_axes.",
        )
    return config.infer


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


def _start_from(network: torch.nn.Module, model: Model) -> None:
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
    cohort: Cohort,
    data: TrainingData,
    infer: InferConfig,
    run: Run,
    report: Report,
) -> Progress:
    loop = config.training
    deadline = None if loop.minutes is None else run.started + 60 * loop.minutes
    schedule = Schedule(run.folder, deadline, loop.validations if data.validation else 0)
    curves = Curves(run.folder)
    validation = None
    if data.validation:
        rows = [case for case, _ in data.validation[: loop.validation_cases]]
        score = partial(_score, config, cohort, rows, infer, data, run.device)
        validation = WholeScanValidation(score, curves, schedule, loop.validations)
    progress = Progress(report, validation)
    checkpoints = ModelCheckpoint(
        run.checkpoint.parent,
        filename=run.checkpoint.stem,
        save_top_k=1,
        train_time_interval=timedelta(minutes=loop.checkpoint_minutes),
        enable_version_counter=False,
        save_on_train_epoch_end=False,
    )
    callbacks = [
        AveragedWeights(loop.ema),
        schedule,
        curves,
        *([validation] if validation else []),
        progress,
        checkpoints,
    ]
    resume = _resume_from(task, run)
    trainer = L.Trainer(
        accelerator="cpu" if run.device.type == "cpu" else "gpu",
        devices=1 if run.device.index is None else [run.device.index],
        precision=lightning_precision(loop.precision, run.device),
        max_epochs=-1,
        max_steps=-1,
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        limit_val_batches=0,
        default_root_dir=run.folder,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists.*")
        trainer.fit(
            task,
            datamodule=PatchData(config, data.train),
            ckpt_path=resume,
            weights_only=None if resume is None else False,
        )
    return progress


def _score(
    config: TrainConfig,
    cohort: Cohort,
    rows: Any,
    infer: InferConfig,
    data: TrainingData,
    device: torch.device,
    network: torch.nn.Module,
) -> Mapping[str, float]:
    model = NetworkInTraining(
        network,
        cohort.labels,
        config.dims,
        slice_axis(config, data.train),
        config.prepare,
        _with_window(config, infer, data),
    )
    return whole_scan_dice(model, cohort, rows, device)


def _with_window(config: TrainConfig, infer: InferConfig, data: TrainingData) -> InferConfig:
    window = infer.window or patch_shape(config, slice_axis(config, data.train))
    return infer.model_copy(update={"window": window})


def _resume_from(task: SegmentationTask, run: Run) -> Path | None:
    """The checkpoint of an unfinished run, if there is one; its schedule is binding."""
    if not run.checkpoint.is_file():
        return None
    schedule = run.folder / "schedule.json"
    if schedule.is_file():
        facts = json.loads(schedule.read_text(encoding="utf-8"))
        task.total_steps = int(facts["steps"])
        for name, now in environment().items():
            if facts.get(name) != now:
                _log.warning(
                    "resumed with %s %s, begun with %s: the weights will differ in the"
                    " last digits from an undisturbed run's",
                    name,
                    now,
                    facts.get(name),
                )
    return run.checkpoint


def lightning_precision(precision: str, device: torch.device) -> Any:
    """Lightning's word for a precision; ``auto`` takes bfloat16 where the processor has it."""
    if precision == "auto":
        native = device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        precision = "bfloat16" if native else "float32"
    return {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}[precision]


def save_run(
    task: SegmentationTask,
    config: TrainConfig,
    cohort: Cohort,
    data: TrainingData,
    infer: InferConfig,
    run: Run,
) -> Model:
    """Write ``model/``: the averaged weights and a card with everything segmenting needs."""
    loop, facts = config.training, [case.facts for case in data.train]
    table = cohort.path.with_suffix(".csv") if cohort.path is not None else None
    card = ModelCard(
        name=cohort.name,
        modality=cohort.modality,
        channels=cohort.channels,
        labels={},
        dims=config.dims,
        slice_axis=slice_axis(config, data.train),
        network=config.network,
        prepare=config.prepare,
        infer=_with_window(config, infer, data),
        postprocess=config.postprocess,
        volume_ranges_ml=_volume_ranges(facts, cohort.labels.names),
        fingerprint=_fingerprint(data.train),
        provenance=Provenance(
            cohort=cohort.name,
            cohort_sha256=hashlib.sha256(table.read_bytes()).hexdigest()
            if table is not None and table.is_file()
            else "",
            training_pixels=tuple(sorted(fact.pixels for fact in facts)),
            training_patients=_patients(cohort, facts),
            seed=loop.seed,
            steps=task.total_steps or 0,
            seconds=round(time.monotonic() - run.started, 1),
            non_finite_steps=int(task.skipped),
            config=config.model_dump(mode="json"),
            versions=versions(),
        ),
    )
    stem = "all" if loop.fold is None else f"fold_{loop.fold}"
    return save_model(run.folder / "model", card, cohort.labels, {stem: task.network.state_dict()})


def _patients(cohort: Cohort, facts: Any) -> int:
    return len({cohort.case(fact.case).patient for fact in facts})


def _volume_ranges(facts: Any, names: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    ranges = {}
    for name in names:
        present = [fact.volumes_ml[name] for fact in facts if fact.volumes_ml[name] > 0]
        if present:
            ranges[name] = (round(min(present), 4), round(max(present), 4))
    return ranges


def _fingerprint(cases: tuple[CachedCase, ...]) -> Fingerprint:
    spacings = np.array([case.facts.native_spacing_mm for case in cases])
    shapes = np.array([case.facts.native_shape for case in cases])
    intensity = np.median([case.facts.intensity for case in cases], axis=0)
    return Fingerprint(
        spacing_mm=tuple(
            (float(a), float(b)) for a, b in zip(spacings.min(0), spacings.max(0), strict=True)
        ),
        intensity=tuple((float(a), float(b), float(c)) for a, b, c in intensity),
        shape=tuple((int(a), int(b)) for a, b in zip(shapes.min(0), shapes.max(0), strict=True)),
    )


def begin_run(folder: Path, config: TrainConfig, *, resume: bool) -> None:
    """Make the run's folder and keep the config in it, or refuse one that holds another run.

    Raises:
        BadOutput: the folder holds a run and `resume` was not asked.
        BadConfig: the run to resume was begun with another config.
    """
    path = folder / "config.yaml"
    plain = config.model_dump(mode="json")
    if (folder / "model").exists() or (folder / "checkpoints").exists():
        if not resume:
            raise BadOutput(
                "the folder already holds a run",
                path=folder,
                remedy="Go on with --resume, or choose another --output.",
            )
        changed = _changed(load_yaml(path), plain) if path.is_file() else []
        if changed:
            raise BadConfig(
                "the run was begun with another config",
                path=path,
                found=", ".join(changed),
                expected="no change of these keys",
                remedy="Resume with the same config, or start anew with --init.",
            )
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(
            yaml.safe_dump(plain, sort_keys=False, default_flow_style=None), encoding="utf-8"
        )


def _changed(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            keys += _changed(old, new, f"{prefix}{key}.")
        elif old != new:
            keys.append(f"{prefix}{key}")
    return keys
